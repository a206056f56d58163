"""The checks of ``banger doctor``: is this host ready, and what on it belongs to no VM?

One file a subject. May import the actors and everything below them; ``banger.api`` and the
composition root import it.
"""
