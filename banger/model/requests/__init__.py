"""Every request of the daemon's socket, its reply type and its streams, a module a subject.

The tag of a request is its name on the wire. ``stream:`` in a docstring names the items
the server sends before the result; ``feed:`` the items the client may send meanwhile.

Modules are apart so that a command loads only those of what it asks.
"""
