"""What is asked of the agent, and answers that no honest agent gives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from banger.guest import agent
from banger.guest.connection import AgentFailure
from banger.guest.link import AgentLink
from banger.kernel import wire
from banger.kernel.errors import BangerError, ConnectionLost, GuestError, NotFound, UsageError
from banger.model.guest import GuestConfig
from banger.model.requests.files import DirectoryEntry, FileInfo
from tests.unit.fake_agent import STATS, SWITCHING, USER, Canned, agent_link, reply

HEALTH = reply(200, b"{}", X_Request_Id="{id}")
BIG = bytes(range(256)) * 1500


def answering(*replies: bytes) -> AgentLink:
    """A link to an agent that gives these replies."""

    async def dial(channel: int) -> trio.abc.Stream:
        return Canned([HEALTH, *replies])

    return AgentLink(dial, 2)


async def written(data: bytes, step: int = 10_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]


async def write(link: AgentLink, path: str, data: bytes, mode: int = 0o640) -> None:
    await agent.write_file(link, path, mode=mode, user=USER, size=len(data), content=written(data))


async def read(link: AgentLink, path: str) -> tuple[FileInfo, bytes]:
    async with agent.open_file(link, path) as (info, chunks):
        return info, b"".join([chunk async for chunk in chunks])


# --- both agents ---


@pytest.mark.parametrize("kind", ["fake", "real"])
async def test_health(kind: str) -> None:
    async with agent_link(kind) as link:
        health = await agent.health(link)
    assert health.hostname
    assert health.stage == "system"
    assert health.uptime_ms > 0


@pytest.mark.parametrize("kind", ["fake", "real"])
async def test_files_and_directories(kind: str, tmp_path: Path) -> None:
    home = str(tmp_path)
    async with agent_link(kind) as link:
        await agent.make_directory(link, home, mode=0o700, user=USER)
        await agent.make_directory(link, f"{home}/a b&c=ü", mode=0o750, user=USER)
        await write(link, f"{home}/a b&c=ü/big?#%", BIG)
        assert await read(link, f"{home}/a b&c=ü/big?#%") == (
            FileInfo("file", 0o640, len(BIG)),
            BIG,
        )
        await write(link, f"{home}/empty", b"", 0o4711)
        assert await read(link, f"{home}/empty") == (FileInfo("file", 0o4711, 0), b"")
        (inner,) = await agent.list_directory(link, f"{home}/a b&c=ü")
        assert inner == DirectoryEntry("big?#%", FileInfo("file", 0o640, len(BIG)))
        found = {entry.name: entry.info for entry in await agent.list_directory(link, home)}
        assert found.keys() == {"a b&c=ü", "empty"}
        assert (found["a b&c=ü"].kind, found["a b&c=ü"].mode) == ("directory", 0o750)


@pytest.mark.parametrize("kind", ["fake", "real"])
async def test_what_is_not_there_or_of_another_type(kind: str, tmp_path: Path) -> None:
    home = str(tmp_path)
    async with agent_link(kind) as link:
        await agent.make_directory(link, home, mode=0o700, user=USER)
        await write(link, f"{home}/file", b"x")
        for _ in range(2):
            with pytest.raises(NotFound):
                await read(link, f"{home}/missing")
            with pytest.raises(NotFound):
                await agent.list_directory(link, f"{home}/missing")
            with pytest.raises(UsageError):
                await read(link, home)
            with pytest.raises(UsageError):
                await agent.list_directory(link, f"{home}/file")


async def test_download_that_is_not_read_to_its_end(tmp_path: Path) -> None:
    async with agent_link("fake", channels=2) as link:
        await write(link, "/big", BIG)
        with pytest.raises(ZeroDivisionError):
            async with agent.open_file(link, "/big") as (_, chunks):
                await anext(chunks)
                raise ZeroDivisionError
        assert (await read(link, "/big"))[1] == BIG


async def test_upload_that_fails_half_way() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"abc"
        raise UsageError("the client said something else")

    async with agent_link("fake", channels=2) as link:
        with pytest.raises(UsageError):
            await agent.write_file(link, "/f", mode=0o644, user="root", size=9, content=failing())
        await write(link, "/f", b"whole")
        assert (await read(link, "/f"))[1] == b"whole"


# --- hostile answers ---


def entry(name: object = "a", **fields: object) -> dict[str, object]:
    return {"name": name, "type": "file", "mode": 420, "size": 1, **fields}


def listing(*entries: object) -> bytes:
    return json.dumps({"entries": entries}).encode()


HOSTILE_LISTINGS = {
    "dot dot": listing(entry("..")),
    "dot": listing(entry(".")),
    "empty": listing(entry("")),
    "absolute": listing(entry("/etc/passwd")),
    "upwards": listing(entry("../x")),
    "below": listing(entry("a/b")),
    "nul": listing(entry("a\0b")),
    "surrogate": b'{"entries":[{"name":"\\ud800","type":"file","mode":1,"size":1}]}',
    "no text": listing(entry(5)),
    "kind": listing(entry(type="\x1b[2J")),
    "negative size": listing(entry(size=-1)),
    "huge size": listing(entry(size=1 << 63)),
    "infinite size": listing(entry(size=float("inf"))),
    "fractional size": listing(entry(size=1.5)),
    "negative mode": listing(entry(mode=-1)),
    "huge mode": listing(entry(mode=1 << 70)),
    "incomplete": b'{"entries":[{"name":"a"}]}',
    "entries no list": b'{"entries":{}}',
    "no entries": b"{}",
    "no object": b"[]",
    "null": b"null",
    "nothing": b"",
    "not utf-8": b'{"entries":[{"name":"\xff"}]}',
    "cut": listing(entry())[:-2],
    "nested": b"[" * 1_000_000,
    "many": listing(*({**entry(), "name": str(number)} for number in range(65_537))),
}


@pytest.mark.parametrize("kind", HOSTILE_LISTINGS)
async def test_hostile_listing(kind: str) -> None:
    with pytest.raises(GuestError) as caught:
        await agent.list_directory(answering(reply(200, HOSTILE_LISTINGS[kind])), "/d")
    assert str(caught.value).isprintable()


async def test_listing_is_made_safe() -> None:
    """Names are what they are; a name counts once, a mode has permission bits only."""
    entries = listing(
        entry("\x1b[2J\n"), entry("twice", size=1), entry("twice", mode=0o104755), entry("ü", x=1)
    )
    found = await agent.list_directory(answering(reply(200, entries)), "/d")
    assert [item.name for item in found] == ["\x1b[2J\n", "twice", "ü"]
    assert found[1].info.mode == 0o4755
    wire.raw(found)


HOSTILE_HEALTH = [
    b"",
    b"{}",
    b"\xff",
    b'{"version":"1","stage":"system","hostname":null,"uptime_ms":1,"sessions":0,"ssh":true}',
    b'{"version":"1","stage":"system","hostname":"h","uptime_ms":-1,"sessions":0,"ssh":true}',
    b'{"version":"1","stage":"system","hostname":"h","uptime_ms":1,"sessions":0,"ssh":1}',
    b'{"version":"1","stage":"s","hostname":"h","uptime_ms":1,"sessions":1'
    + b"0" * 30
    + b',"ssh":true}',
]


@pytest.mark.parametrize("body", HOSTILE_HEALTH)
async def test_hostile_health(body: bytes) -> None:
    with pytest.raises(GuestError):
        await agent.health(answering(reply(200, body)))


async def test_health_is_made_printable() -> None:
    body = {
        **{"version": "1\x1b[31m", "stage": "sys\ntem", "hostname": "h\0\u202e" + "x" * 9999},
        **{"uptime_ms": 5, "sessions": 0, "ssh": False, "unknown": []},
    }
    health = await agent.health(answering(reply(200, json.dumps(body).encode())))
    for text in (health.hostname, health.stage, health.agent_version):
        assert text.isprintable()
        assert len(text) <= 500
    wire.raw(health)


@pytest.mark.parametrize("kind", ["fake", "real"])
async def test_stats(kind: str) -> None:
    async with agent_link(kind) as link:
        usage = await agent.stats(link)
    assert usage.uptime_ms > 0
    assert usage.memory.total_bytes >= usage.memory.available_bytes > 0
    assert usage.processes > 0


def stats_with(**changes: Any) -> bytes:
    return json.dumps(STATS | changes).encode()


DISK = STATS["disks"][0]
MEMORY = STATS["memory"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        stats_with(uptime_ms=-1),
        stats_with(uptime_ms=1 << 64),
        stats_with(processes="many"),
        stats_with(load=[1, 2]),
        stats_with(load=[1, 2, -3]),
        stats_with(load=[1, 2, 1e300]),
        stats_with(load=[1, 2, float("nan")]),
        stats_with(memory=MEMORY | {"total_bytes": -1}),
        stats_with(memory=None),
        stats_with(disks=[DISK] * 17),
        stats_with(disks=[DISK | {"path": "x" * 5000}]),
        stats_with(disks=[DISK | {"used_bytes": 1.5}]),
        stats_with(disks=[{"path": "/"}]),
    ],
)
async def test_hostile_stats(body: bytes) -> None:
    with pytest.raises(GuestError) as caught:
        await agent.stats(answering(reply(200, body)))
    assert str(caught.value).isprintable()


async def test_stats_are_made_printable() -> None:
    body = stats_with(disks=[DISK | {"path": "/\x1b[2J" + "x" * 999}], unknown=[1])
    (disk,) = (await agent.stats(answering(reply(200, body)))).disks
    assert disk.path.isprintable()
    assert len(disk.path) <= 200


async def test_an_older_agent_has_no_stats() -> None:
    with pytest.raises(GuestError, match="older version"):
        await agent.stats(answering(reply(404)))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_Mode": "rw-r--r--"},
        {"X_Mode": ""},
        {"X_Mode": "0999"},
        {"Content_Length": "", "X_Mode": "644"},
    ],
)
async def test_file_without_usable_facts(headers: dict[str, str]) -> None:
    with pytest.raises(GuestError):
        await read(answering(reply(200, b"abc", **headers)), "/f")


async def test_file_of_no_length() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Mode: 644\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pytest.raises(GuestError):
        await read(answering(head + b"3\r\nabc\r\n0\r\n\r\n"), "/f")


async def test_file_shorter_than_said() -> None:
    with pytest.raises(ConnectionLost):
        await read(answering(reply(200, b"abc", Content_Length="4", X_Mode="644")), "/f")


async def test_file_mode_is_bounded() -> None:
    for text in ("-777", "777777777777777777777", "100644"):
        info, _ = await read(answering(reply(200, b"", X_Mode=text)), "/f")
        assert 0 <= info.mode <= 0o7777


async def test_configuration_that_fails_in_part() -> None:
    body = {
        "applied": ["hostname"],
        "failed": [
            {"part": "files", "error": "/etc/x: no space\x1b[2J", "errno": 28},
            {"part": "hosts", "error": "too\nbad", "errno": 0},
        ],
    }
    config = GuestConfig(version=1, hostname="a", machine_id="0" * 32)
    answers = reply(207, json.dumps(body).encode())
    for ask in (agent.check_configured, lambda link: agent.configure(link, config)):
        with pytest.raises(GuestError) as caught:
            await ask(answering(answers))
        assert "files: /etc/x: no space" in str(caught.value)
        assert "hosts: too?bad" in str(caught.value)
        assert str(caught.value).isprintable()


async def test_a_drive_that_can_not_be_mounted_has_a_remedy() -> None:
    body = b'{"failed":[{"part":"mounts","error":"bad superblock","errno":22}]}'
    with pytest.raises(GuestError) as caught:
        await agent.check_configured(answering(reply(207, body)))
    assert "vm reset-work" in caught.value.hint


async def test_notes_of_the_guest_are_cut_and_made_printable() -> None:
    body = {"applied": [], "notes": ["moved\x1b[2J up", "x" * 9999] + ["more"] * 99}
    answers = reply(200, json.dumps(body).encode())
    notes = await agent.check_configured(answering(answers))
    assert notes[0] == "moved?[2J up"
    assert len(notes[1]) < 1000
    assert len(notes) == 16


async def test_configuration_is_sent_and_checked() -> None:
    stream = Canned([HEALTH, reply(200, b'{"applied":["hostname"]}')])

    async def dial(channel: int) -> trio.abc.Stream:
        return stream

    config = GuestConfig(version=1, hostname="a", machine_id="0" * 32)
    await agent.configure(AgentLink(dial, 2), config)
    sent = stream.sent.split(b"\r\n\r\n")[-1]
    assert msgspec.json.decode(sent, type=GuestConfig) == config


async def test_clock_and_power() -> None:
    await agent.set_clock(answering(reply(204, b"")), 10**18)
    await agent.power_off(answering(reply(202)))
    with pytest.raises(AgentFailure):
        await agent.power_off(answering(reply(500)))


ASKS: dict[str, Callable[[AgentLink], Awaitable[object]]] = {
    "health": agent.health,
    "stats": agent.stats,
    "configured": agent.check_configured,
    "clock": lambda link: agent.set_clock(link, 1),
    "power off": agent.power_off,
    "list": lambda link: agent.list_directory(link, "/d"),
    "mkdir": lambda link: agent.make_directory(link, "/d", mode=0o755, user="root"),
    "read": lambda link: read(link, "/f"),
    "write": lambda link: write(link, "/f", b"abc"),
}


@pytest.mark.parametrize(
    "answer",
    [b"", b"\0", SWITCHING, b"HTTP/1.1 200 OK\r\n\r\n", reply(404, b"\xff"), reply(422, b"[")],
    ids=["end", "nul", "switching", "bodiless", "404", "422"],
)
@pytest.mark.parametrize("ask", ASKS)
async def test_only_declared_errors(ask: str, answer: bytes) -> None:
    with pytest.raises(BangerError):
        await ASKS[ask](answering(answer))


async def test_chunks_can_be_left_early() -> None:
    link = answering(reply(200, bytes(1 << 20), X_Mode="644"))
    with pytest.raises(ZeroDivisionError):
        async with agent.open_file(link, "/f") as (_, chunks):
            async for _ in chunks:
                raise ZeroDivisionError


async def test_freeze_tells_what_was_zeroed() -> None:
    frozen = reply(200, b'{"settled":true,"zeroed_bytes":4096,"took_ms":7}')
    assert await agent.freeze(answering(frozen), 1) == (4096, 7)


async def test_a_busy_guest_is_not_frozen() -> None:
    busy = reply(409, b'{"error":"systemd is not up yet: starting","errno":16}')
    with pytest.raises(GuestError, match="can't be frozen: systemd is not up yet: starting"):
        await agent.freeze(answering(busy), 1)


async def test_an_agent_that_is_silent_for_a_while_may_still_freeze(
    autojump_clock: MockClock,
) -> None:
    pieces = [HEALTH, reply(200, b'{"settled":true,"zeroed_bytes":0,"took_ms":100000}')]

    class Slow(Canned):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            await trio.sleep(100)
            return await super().receive_some(max_bytes)

    async def dial(channel: int) -> trio.abc.Stream:
        return Slow(pieces)

    assert await agent.freeze(AgentLink(dial, 2), 60) == (0, 100000)
    with pytest.raises(ConnectionLost, match="for 30 s"):
        await agent.check_configured(AgentLink(dial, 2))
