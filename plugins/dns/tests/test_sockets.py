"""Listening, and who is in the way."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from banger_dns import CannotListen, bind, describe_owner

ME = f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_any_port_is_the_same_for_udp_and_tcp(address: str) -> None:
    with bind([(address, 0)]) as sockets:
        ((where, port),) = sockets.addresses
        assert where == address and port
        assert sockets.tcp[0].getsockname()[:2] == (where, port)


@pytest.mark.parametrize(
    ("kind", "protocol"), [(socket.SOCK_DGRAM, "UDP"), (socket.SOCK_STREAM, "TCP")]
)
@pytest.mark.parametrize("held", ["127.0.0.1", "0.0.0.0"])
def test_holder_of_the_port_is_named(kind: socket.SocketKind, protocol: str, held: str) -> None:
    with socket.socket(type=kind) as holder:
        holder.bind((held, 0))
        port = holder.getsockname()[1]
        if kind == socket.SOCK_STREAM:
            holder.listen()
        with pytest.raises(CannotListen) as caught:
            bind([("127.0.0.1", 0), ("127.0.0.1", port)])
    assert caught.value.message == f"{protocol} port {port} of 127.0.0.1 is taken by {ME}"
    assert caught.value.hint
    with bind([("127.0.0.1", port)]):
        pass  # what was bound before the failure is free again


def test_wildcard_of_ipv6_is_found() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as holder:
        holder.bind(("::", 0))
        port = holder.getsockname()[1]
        assert describe_owner("127.0.0.1", port, socket.SOCK_DGRAM) == ME
        assert describe_owner("::1", port, socket.SOCK_DGRAM) == ME
        assert "unknown process" in describe_owner("127.0.0.1", port, socket.SOCK_STREAM)


def test_process_that_can_not_be_seen(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    with socket.socket(type=socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        (tmp_path / "net" / "udp").write_text(Path("/proc/net/udp").read_text())
        text = describe_owner("127.0.0.1", port, socket.SOCK_DGRAM, tmp_path)
    assert "another user" in text or "outside this process namespace" in text


@pytest.mark.parametrize(
    ("listener", "reason"),
    [
        (("192.0.2.77", 0), "no address 192.0.2.77"),
        (("0.0.0.0", 0), "on all addresses"),
        (("::", 0), "on all addresses"),
    ],
)
def test_addresses_that_can_not_be_used(listener: tuple[str, int], reason: str) -> None:
    with pytest.raises(CannotListen, match=reason):
        bind([("127.0.0.1", 0), listener])


def test_address_that_is_not_there_yet() -> None:
    with bind([("192.0.2.77", 0)], absent=True) as sockets:
        assert sockets.addresses[0][0] == "192.0.2.77"
