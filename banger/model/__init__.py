"""Frozen, typed data: names, sizes, specs, records, events, requests and replies.

May import: `banger.kernel`. Does no I/O.
"""
