"""Ports of this host, held with real sockets on loopback."""

from __future__ import annotations

import os
import socket

import pytest
import trio
from banger.capabilities import Conflict, UsageError, Vm
from banger.testing import fake_vm

from banger_nat.ports import HeldPorts
from banger_nat.publication import Publication

WEB, DB = fake_vm("web"), fake_vm("db")


def on_loopback(port: int, protocol: str = "tcp") -> list[Publication]:
    return [Publication.parse(f"127.0.0.1:{port}:80/{protocol}")]


def can_bind(port: int, kind: int, *, share: bool) -> bool:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, share)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.mark.parametrize(
    ("protocol", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)]
)
async def test_nobody_else_can_take_a_held_port(free_port: int, protocol: str, kind: int) -> None:
    ports = HeldPorts()
    await ports.hold(WEB, on_loopback(free_port, protocol))
    assert not can_bind(free_port, kind, share=False)
    assert not can_bind(free_port, kind, share=True)
    if protocol == "tcp":
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", free_port), timeout=2)
    ports.release(WEB.id)
    ports.release(WEB.id)
    assert can_bind(free_port, kind, share=False)


async def test_a_port_with_connections_in_time_wait_is_free(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)) as server:
        client = socket.create_connection(("127.0.0.1", free_port))
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""
        client.close()
    assert not can_bind(free_port, socket.SOCK_STREAM, share=False)
    ports = HeldPorts()
    await ports.hold(WEB, on_loopback(free_port))
    assert not can_bind(free_port, socket.SOCK_STREAM, share=True)
    ports.release(WEB.id)


async def test_a_listening_process_is_named(free_port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(Conflict, match=rf"{free_port}/tcp .* pid {os.getpid()}"),
    ):
        await HeldPorts().check(WEB, on_loopback(free_port))


async def test_a_vm_is_named(free_port: int) -> None:
    ports = HeldPorts()
    await ports.hold(WEB, on_loopback(free_port))
    everywhere = [Publication.parse(f"{free_port}:80")]
    for wanted in (on_loopback(free_port), everywhere):
        with pytest.raises(Conflict, match="published by VM 'web'"):
            await ports.check(DB, wanted)
        await ports.check(WEB, wanted)
    ports.release(WEB.id)
    await ports.check(DB, on_loopback(free_port))


async def test_an_address_of_somebody_else() -> None:
    with pytest.raises(UsageError, match="no address of this host"):
        await HeldPorts().check(WEB, [Publication.parse("192.0.2.1:8080:80")])


async def test_all_or_nothing(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = on_loopback(server.getsockname()[1])
        with pytest.raises(Conflict):
            await HeldPorts().hold(WEB, on_loopback(free_port) + taken)
        assert can_bind(free_port, socket.SOCK_STREAM, share=False)


async def test_of_two_at_once_one_wins(free_port: int) -> None:
    ports = HeldPorts()
    outcomes: list[str] = []

    async def take(vm: Vm) -> None:
        try:
            await ports.hold(vm, on_loopback(free_port))
            outcomes.append("held")
        except Conflict:
            outcomes.append("refused")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, WEB)
        nursery.start_soon(take, DB)
    assert sorted(outcomes) == ["held", "refused"]
    ports.release(WEB.id)
    ports.release(DB.id)


async def test_from_one_address_to_all_and_back(free_port: int) -> None:
    ports = HeldPorts()
    everywhere = [Publication.parse(f"{free_port}:80")]
    for wanted in (on_loopback(free_port), everywhere, on_loopback(free_port)):
        await ports.hold(WEB, wanted)
        ports.keep(WEB.id, wanted)
        assert not can_bind(free_port, socket.SOCK_STREAM, share=False)
    ports.release(WEB.id)
