"""Names for banger's VMs: an authoritative zone, and a forwarder for everything else.

::

    zone = Zone("vm", subnet=IPv4Network("172.31.0.0/22"), address=IPv4Address("172.31.0.1"))
    server = make_server(zone)
    with bind([("172.31.0.1", 53), ("127.0.0.1", 5300)]) as sockets:
        await nursery.start(server.serve, sockets)
        zone.set_host("web", [IPv4Address("172.31.0.10")], aliases=["www"])

The zone may be changed at any time, from the thread that serves it.
"""

from banger_dns.answers import Cache
from banger_dns.errors import CannotListen, DnsError
from banger_dns.forwarder import Forwarder, Patience
from banger_dns.limits import Limits
from banger_dns.owner import describe_owner
from banger_dns.rebinding import RebindingGuard
from banger_dns.resolvers import HostResolvers, Resolver
from banger_dns.server import DnsServer, make_server
from banger_dns.sockets import Sockets, bind
from banger_dns.zone import Host, Zone

__all__ = [
    "Cache",
    "CannotListen",
    "DnsError",
    "DnsServer",
    "Forwarder",
    "Host",
    "HostResolvers",
    "Limits",
    "Patience",
    "RebindingGuard",
    "Resolver",
    "Sockets",
    "Zone",
    "bind",
    "describe_owner",
    "make_server",
]
