"""Actors, supervision, events, records and RPC. Knows nothing of VMs.

May import: the standard library, trio and msgspec.
"""
