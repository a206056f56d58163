"""Talks to the daemon: plain blocking sockets, no trio, so a command starts fast.

May import: model, settings, ``paths``, ``places`` and ``process`` of the host, and the trio-free
half of the kernel (``errors``, ``message``, ``wire``).
"""
