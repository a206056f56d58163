"""Talks to the daemon: plain blocking sockets, no trio, so a command starts fast.

May import: model, settings, ``banger.host.paths`` and ``process``, and the trio-free half of
the kernel (``errors``, ``message``, ``wire``).
"""
