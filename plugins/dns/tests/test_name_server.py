"""The service: what it listens at, and what becomes of it when things go wrong."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from banger.capabilities import BangerError
from dns_fakes import ask_udp, make_query
from dns_host import NETWORK, OTHER_NETWORK, DnsDaemon

from banger_dns import checks, name_server
from banger_dns.book import Claim
from banger_dns.capability import Dns
from banger_dns.messages import SetNames

ME = f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"
BRIDGE = str(NETWORK.gateway.ip)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """One that is free on the bridge."""
    with socket.socket() as sock:
        sock.bind((BRIDGE, 0))
        port = int(sock.getsockname()[1])
    monkeypatch.setattr(Dns, "bridge_port", port)
    return port


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_server, "FIRST_PAUSE_S", 0.02)


@pytest.fixture
def holder(port: int) -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as holder:
        holder.bind((BRIDGE, port))
        yield holder


@pytest.fixture
async def daemon(port: int, tmp_path: Path) -> AsyncIterator[DnsDaemon]:
    daemon = DnsDaemon(tmp_path)
    with trio.fail_after(20):
        yield daemon
    assert not daemon.complaints


async def test_names_are_answered(daemon: DnsDaemon, port: int) -> None:
    async with daemon.serving():
        await daemon.listening()
        address = (await daemon.create("web")).vm.address
        reply = await ask_udp((BRIDGE, port), make_query("web.vm"))
        assert [str(data) for data in reply.answer[0]] == [address]


async def test_port_that_is_taken(daemon: DnsDaemon, port: int, holder: socket.socket) -> None:
    async with daemon.serving():
        told = await daemon.next("cannot-listen")
        assert told["reason"] == f"UDP port {port} of {BRIDGE} is taken by {ME}"
        # A VM starts all the same.
        await daemon.create("web")
        ((level, summary),) = await daemon.findings("dns-server")
        assert level == "warning" and ME in summary
        holder.close()
        await daemon.next("listening-again")
        assert (await ask_udp((BRIDGE, port), make_query("web.vm"))).answer
        assert [level for level, _ in await daemon.findings("dns-server")] == ["ok"]
        kinds = [event.kind for event in daemon.host.events]
        assert kinds == ["cannot-listen", "listening-again"]


async def test_one_place_that_is_taken_leaves_the_other(
    port: int, tmp_path: Path, holder: socket.socket
) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        free = int(sock.getsockname()[1])
    daemon = DnsDaemon(tmp_path, {"port": free})
    async with daemon.serving():
        await daemon.listening("127.0.0.1")
        assert (await ask_udp(("127.0.0.1", free), make_query("vm"))).answer
        levels = {level for level, _ in await daemon.findings("dns-server")}
        assert levels == {"ok", "warning"}


async def test_no_network_at_first(daemon: DnsDaemon, port: int) -> None:
    daemon.network = None
    async with daemon.serving():
        await trio.testing.wait_all_tasks_blocked()
        ((level, summary),) = await daemon.findings("dns-server")
        assert (level, "no right" in summary) == ("warning", True)
        daemon.network = NETWORK
        await daemon.listening()
        assert (await ask_udp((BRIDGE, port), make_query("vm"))).answer


async def test_another_network(daemon: DnsDaemon, port: int) -> None:
    async with daemon.serving():
        await daemon.listening()
        other = str(OTHER_NETWORK.gateway.ip)
        claim = Claim("1" * 32, "new", ("new",))
        await daemon.host.service("server").ask(SetNames(claim, "127.78.0.9", OTHER_NETWORK))
        await daemon.listening(other)
        reply = await ask_udp((other, port), make_query("new.vm"))
        assert [str(data) for data in reply.answer[0]] == ["127.78.0.9"]


async def test_service_made_anew_knows_the_names(daemon: DnsDaemon, port: int) -> None:
    async with daemon.serving():
        await daemon.create("web", {"alias": ["www"]})
        await daemon.create("rest", start=False)
        before = await daemon.names()
        # As after a crash: nobody says again what there is.
        daemon._stop_services()
        await trio.testing.wait_all_tasks_blocked(0.05)
        daemon._start_services()
        await daemon.listening()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert await daemon.names() == before
        assert (await ask_udp((BRIDGE, port), make_query("www.vm"))).answer


async def test_names_that_are_amiss(daemon: DnsDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SETTLING_S", 0)
    async with daemon.serving():
        await daemon.create("web")
        server = daemon.host.service("server")
        assert await daemon.findings("dns-names") == [
            ("ok", "1 VMs are answered for, and no others")
        ]
        await server.ask(SetNames(Claim("0" * 32, "ghost", ("ghost",)), "127.77.0.66"))
        assert await daemon.findings("dns-names") == [("failed", "names of 1 VMs that do not run")]
        (check,) = (c for c in daemon.capability.checks() if c.name == "dns-names")
        assert check.fix is not None
        assert await check.fix() == "1 removed, 0 added"
        assert list(await daemon.names()) == ["web.vm"]


async def test_names_of_a_network_that_can_not_be_had(daemon: DnsDaemon) -> None:
    async def vms() -> list[object]:
        raise BangerError("the fleet is gone")

    daemon.host.vms = vms  # type: ignore[method-assign, assignment]
    async with daemon.serving():
        await daemon.listening()
        assert await daemon.names() == {}
