"""Clients that are refused, break the protocol or exhaust the server."""

from __future__ import annotations

import os
import random
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from banger.kernel import rpc, wire
from banger.kernel.errors import UsageError
from banger.kernel.rpc import Peer
from tests.unit.rpc_service import Client, Echo, Hang, serving


async def test_unauthorised_peer_gets_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Peer] = []

    def nobody(peer: Peer) -> bool:
        asked.append(peer)
        return False

    async with serving(tmp_path, authorize=nobody) as service:
        client = await service.dial()
        assert await client.stream.receive_some() == b""
        assert service.served == 0
    assert asked[0].uid == os.getuid()
    assert f"refused a connection of pid {os.getpid()}" in caplog.text


async def test_authorisation_that_crashes_refuses(tmp_path: Path) -> None:
    def crash(_: Peer) -> bool:
        raise ZeroDivisionError

    async with serving(tmp_path, authorize=crash) as service:
        for _ in range(2):
            client = await service.dial()
            assert await client.stream.receive_some() == b""


@pytest.mark.skipif(os.getuid() != 0, reason="sets the groups of a process")
@pytest.mark.parametrize(
    ("groups", "known"), [(range(7000, 7003), True), (range(7000, 7300), False)]
)
async def test_groups_of_the_peer(groups: range, known: bool, tmp_path: Path) -> None:
    program = (
        "import socket, sys\n"
        "client = socket.socket(socket.AF_UNIX)\n"
        "client.connect(sys.argv[1])\n"
        "sys.exit(client.recv(1) == b'')\n"
    )
    seen: list[Peer] = []

    def note(peer: Peer) -> bool:
        seen.append(peer)
        return True

    async with serving(tmp_path, authorize=note) as service:
        ended = await trio.to_thread.run_sync(
            lambda: subprocess.run(
                [sys.executable, "-c", program, service.path], extra_groups=groups, timeout=10
            )
        )
    assert ended.returncode == 0
    assert seen[0].groups == (frozenset(groups) if known else frozenset()) | {os.getgid()}


async def test_connections_over_the_limit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "CONNECTIONS", 3)
    async with serving(tmp_path) as service:
        clients = [await service.connect() for _ in range(3)]
        refused = await service.dial()
        assert await refused.stream.receive_some() == b""
        assert await clients[0].ask(Echo("x")) == "x"
        await clients[1].stream.aclose()
        await clients[0].ask(Echo("x"))
        assert await (await service.connect()).ask(Echo("x")) == "x"


async def test_out_of_descriptors_is_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(tmp_path) as service:
        client = await service.connect()
        late = trio.socket.socket(trio.socket.AF_UNIX)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            await late.connect(str(service.path))
            while "accept on the daemon's socket failed" not in caplog.text:
                assert await client.ask(Echo("served")) == "served"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        waiting = Client(trio.SocketStream(late))
        assert isinstance(await waiting.receive(), wire.Hello)
        assert await waiting.ask(Echo("at last")) == "at last"
        late.close()


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


BROKEN = {
    "length over the cap": struct.pack(">I", wire.FRAME_LIMIT_BYTES + 1),
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "empty frame": framed(b""),
    "no message": framed(b"\xc0"),
    "truncated body": framed(wire.frame(wire.Cancel(1))[4:-1]),
    "trailing bytes": framed(wire.frame(wire.Cancel(1))[4:] + b"\xc0"),
    "text that is not utf-8": framed(b"\x82\xa1m\xa6canc\xff\xfe\xa2id\x07"),
    "bottomless": framed(b"\x83\xa1m\xa4call\xa2id\x01\xa7request" + b"\x91" * 100_000),
    "server's message": wire.frame(wire.Credit(1, 5)),
    "id in use": wire.frame(wire.Call(1, wire.raw(Hang()))) * 2,
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_broken_protocol_disconnects_that_client_alone(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as service:
        other = await service.connect()
        await other.call(1, Hang())
        client = await service.connect()
        await client.call(9, Hang())
        await client.stream.send_all(BROKEN[kind])
        await client.expect_disconnect()
        while service.active != 1:
            await trio.lowlevel.checkpoint()
        assert await other.ask(Echo("on"), call_id=2) == "on"
    assert "unexpectedly" not in caplog.text


async def test_request_that_is_not_utf8_fails_the_call_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    not_text = bytes(wire.raw(Echo("ab?"))).replace(b"ab?", b"ab\xff")
    async with serving(tmp_path) as service:
        client = await service.connect()
        body = b"\x83\xa1m\xa4call\xa2id\x01\xa7request" + not_text
        await client.stream.send_all(framed(body))
        assert isinstance(await client.error(1), UsageError)
        assert await client.ask(Echo("on")) == "on"
    assert "unexpectedly" not in caplog.text


@pytest.mark.parametrize("seed", range(3))
async def test_damaged_traffic_never_reaches_the_others(
    seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(seed)
    whole = [
        wire.frame(wire.Call(1, wire.raw(Echo("hello")))),
        wire.frame(wire.Call(2, wire.raw(Hang()))),
        wire.frame(wire.Feed(2, wire.raw(b"x" * 50))),
        wire.frame(wire.Cancel(2)),
    ]
    async with serving(tmp_path) as service:
        other = await service.connect()
        for _ in range(150):
            client = await service.connect()
            data = bytearray(b"".join(chance.choices(whole, k=5)))
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            try:
                await client.stream.send_all(data)
                await client.stream.send_eof()
            except trio.BrokenResourceError:
                pass
            await client.expect_disconnect()
        assert await other.ask(Echo("on")) == "on"
        while service.active:
            await trio.lowlevel.checkpoint()
    assert "unexpectedly" not in caplog.text
