"""The server that ``banger bench dns`` measures: ``python -m banger_dns.bench_server NAMES``.

Writes its port to stdout, and serves until its stdin is closed: it can't outlive its starter.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import trio

from banger_dns.limits import Limits
from banger_dns.server import make_server
from banger_dns.sockets import bind
from banger_dns.zone import Zone

ZONE = "vm"
SUBNET = IPv4Network("10.128.0.0/9")


def bench_names(count: int) -> Iterator[tuple[str, IPv4Address]]:
    """Names with addresses, relative to the zone."""
    for number in range(1, count + 1):
        yield f"vm-{number}", SUBNET[number + 1]


async def serve(count: int) -> None:
    zone = Zone(ZONE, subnet=SUBNET, address=SUBNET[1])
    for name, address in bench_names(count):
        zone.set_host(name, [address])
    # The rate that one client may have is not what is to be measured.
    limits = Limits(queries_per_s=10_000_000)
    server = make_server(zone, resolvers=lambda: (), limits=limits)
    with bind([("127.0.0.1", 0)]) as sockets:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, sockets)
            sys.stdout.write(f"{sockets.addresses[0][1]}\n")
            sys.stdout.flush()
            await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1]))
