"""What a run of `banger_dns.bench` has found."""

from __future__ import annotations

import msgspec

RATE = 2000
"""Queries a second of the part that measures latency."""

PARTS = ("most", "rate")


class Measured(msgspec.Struct):
    """Of one server. The field names are a stable interface."""

    queries_per_s: float
    """As many as it can answer."""
    cpu_at_most: float
    """Share of one core meanwhile."""
    p50_ms: float
    """Latency at `RATE` queries a second."""
    p99_ms: float
    cpu_at_rate: float
    lost: int


class Report(msgspec.Struct):
    names: int
    seconds: float
    rate: int
    cpus: int
    load: float
    banger: Measured
    dnsmasq: Measured
