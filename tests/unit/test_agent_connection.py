"""One connection to the agent, and agents that say anything."""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from banger.guest.connection import (
    HEAD_LIMIT_BYTES,
    JSON_LIMIT_BYTES,
    STALE_LIMIT_BYTES,
    AgentConnection,
    AgentFailure,
)
from banger.guest.exec import ExecSession
from banger.kernel.errors import BangerError, ConnectionLost, GuestError, NotFound, UsageError
from tests.unit.fake_agent import (
    STDERR,
    STDIN_CREDIT,
    STDOUT,
    SWITCHING,
    Canned,
    FakeAgent,
    exit_frame,
    frame,
    reply,
)

HEALTH = reply(200, b"{}", X_Request_Id="{id}")


@pytest.fixture
async def served() -> AsyncIterator[AgentConnection]:
    """A connection to a fake agent."""
    ours, theirs = memory_stream_pair()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(FakeAgent().serve, theirs)
            yield AgentConnection(ours)
            nursery.cancel_scope.cancel()


async def test_requests_one_after_another(served: AgentConnection) -> None:
    await served.resynchronise()
    for _ in range(3):
        assert b"fake" in await served.request("GET", "/healthz")
        assert served.idle
    with pytest.raises(NotFound):
        await served.request("GET", "/v1/files?path=/missing")
    assert served.idle
    await served.request("PUT", "/v1/clock", body=b"{}")
    assert served.idle


STALE = {
    "nothing": b"",
    "a whole reply": reply(200, b"HTTP/1.1 200 OK"),
    "a reply to another id": reply(200, b"{}", X_Request_Id="a" * 32),
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nX-Mo",
    "half a body": reply(200, b"abc", Content_Length="100000"),
    "a status line alone": b"HTTP/1.1 200 OK\r\n",
    "frames": frame(STDOUT, b"HTTP/1.1 200 OK\r\n\r\n") + exit_frame(),
    "half a frame": frame(STDOUT, bytes(1000))[:-7],
    "not text": bytes(range(256)),
    "much": b"HTTP/1.1 " * (STALE_LIMIT_BYTES // 10),
}


@pytest.mark.parametrize("chunk", [1 << 20, 61], ids=["at once", "in pieces"])
@pytest.mark.parametrize("stale", STALE)
async def test_stale_bytes_are_skipped(stale: str, chunk: int) -> None:
    data = STALE[stale] + HEALTH
    if len(data) > 100 * chunk:
        chunk = 4096
    pieces = itertools.chain(
        (STALE[stale][at : at + chunk] for at in range(0, len(STALE[stale]), chunk)),
        [HEALTH, reply(200, b"next")],
    )
    connection = AgentConnection(Canned(filter(None, pieces)))
    await connection.resynchronise()
    assert connection.idle
    assert await connection.request("GET", "/x") == b"next"


async def test_reply_cut_anywhere_is_found() -> None:
    for at in range(1, len(HEALTH)):
        # The id itself must come in one piece for the fake to fill it in.
        pieces = [b"HTTP/1.1 200 O", HEALTH[:at], HEALTH[at:]]
        if b"{id}" not in pieces[1] and b"{id}" not in pieces[2]:
            continue
        connection = AgentConnection(Canned(pieces))
        await connection.resynchronise()
        assert connection.idle


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], ConnectionLost),
        ([b"HTTP/1.1 200 OK\r\n"], ConnectionLost),
        ([b"{id}"], GuestError),
        ([b"HTTP/1.1 {id}\r\n\r\n"], GuestError),
        ([b"HTTP/1.1 999999 OK\r\nX: {id}\r\n\r\n"], GuestError),
        ([reply(500, b"{}", X="{id}")], AgentFailure),
        ([reply(101, b"", X="{id}")], GuestError),
        ([reply(200, b"{}", X="{id}", Content_Length="-1")], GuestError),
        ([reply(200, b"{}", X="{id}", Content_Length="17")], ConnectionLost),
    ],
)
async def test_resynchronising_fails_as_declared(
    pieces: list[bytes], expected: type[BangerError]
) -> None:
    with pytest.raises(expected):
        await AgentConnection(Canned(pieces)).resynchronise()


async def test_endless_stale_bytes_are_given_up() -> None:
    stream = Canned(itertools.repeat(b"HTTP/1.1 200 OK\r\n" * 1000))
    with pytest.raises(GuestError, match="does not come to an answer"):
        await AgentConnection(stream).resynchronise()
    assert stream.taken < 2 * STALE_LIMIT_BYTES


async def test_the_question_is_put_again(autojump_clock: MockClock) -> None:
    """What a predecessor left unfinished may swallow the first; an old answer is no answer."""
    ours, theirs = memory_stream_pair()
    asked: list[bytes] = []

    async def answer_late() -> None:
        while len(asked) < 3:
            asked.append(bytes(await theirs.receive_some()).split(b"Id: ")[1].strip())
        for identifier in asked:
            await theirs.send_all(reply(200, b"{}", X_Request_Id=identifier.decode()))
        await theirs.receive_some()
        await theirs.send_all(reply(200, b"the next one's"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_late)
        connection = AgentConnection(ours)
        with trio.fail_after(60):
            await connection.resynchronise()
            assert await connection.request("GET", "/x") == b"the next one's"
    assert len(set(asked)) == 3


OK = b"HTTP/1.1 200 OK\r\n"
HOSTILE: dict[str, tuple[list[bytes], type[BangerError]]] = {
    "nothing": ([], ConnectionLost),
    "head without end": ([OK, b"X: "], ConnectionLost),
    "head over the limit": ([OK + b"X: " + b"a" * 2 * HEAD_LIMIT_BYTES], GuestError),
    "half a body": ([reply(200, b"{", Content_Length="2")], ConnectionLost),
    "length not a number": ([reply(200, Content_Length="ten")], GuestError),
    "negative length": ([reply(200, Content_Length="-5")], GuestError),
    "two lengths": ([OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"], GuestError),
    "length out of this world": ([reply(200, Content_Length="9" * 30)], GuestError),
    "body over the limit": ([reply(200, bytes(JSON_LIMIT_BYTES + 1))], GuestError),
    "not http": ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], GuestError),
    "http of another kind": ([b"HTTP/9.9 200 OK\r\n\r\n"], ConnectionLost),
    "no status": ([b"HTTP/1.1\r\n\r\n"], GuestError),
    "nul": ([OK + b"A: b\0c\r\n\r\n"], GuestError),
    "bytes alone": ([bytes(range(256))], GuestError),
    "a request": ([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"], GuestError),
    "continue": ([b"HTTP/1.1 100 Continue\r\n\r\n", reply()], GuestError),
    "switched unasked": ([SWITCHING, reply()], GuestError),
    "bad chunk": ([OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"], GuestError),
    "chunk out of this world": (
        [OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n"],
        GuestError,
    ),
    "until the end": ([b"HTTP/1.0 200 OK\r\n\r\nabc"], ConnectionLost),
    "failure with a broken body": ([reply(500, b"{", Content_Length="9")], ConnectionLost),
    "endless failure": ([reply(500, bytes(JSON_LIMIT_BYTES + 1))], GuestError),
}


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_hostile_reply(hostile: str) -> None:
    pieces, expected = HOSTILE[hostile]
    connection = AgentConnection(Canned(pieces))
    with pytest.raises(BangerError) as caught:
        await connection.request("GET", "/x")
    assert isinstance(caught.value, expected)
    assert not connection.idle


async def test_two_replies_at_once_break_the_connection_or_are_told_apart() -> None:
    connection = AgentConnection(Canned([reply(200, b"mine") + reply(200, b"unasked")]))
    assert await connection.request("GET", "/x") == b"mine"
    with pytest.raises(BangerError):
        await connection.request("GET", "/y")
        await connection.request("GET", "/z")


async def test_agent_that_closes_is_not_used_again() -> None:
    for head in (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", b"HTTP/1.0 200 OK\r\n"):
        connection = AgentConnection(Canned([head + b"Content-Length: 2\r\n\r\nab"]))
        assert await connection.request("GET", "/x") == b"ab"
        assert not connection.idle


async def endless(first: bytes, piece: bytes) -> int:
    """How many bytes were taken of an endless reply before it was given up."""
    stream = Canned(itertools.chain([first], itertools.repeat(piece)))
    tracemalloc.start()
    try:
        with pytest.raises(GuestError), trio.fail_after(10):
            await AgentConnection(stream).request("GET", "/x")
        assert tracemalloc.get_traced_memory()[1] < 4 * JSON_LIMIT_BYTES
    finally:
        tracemalloc.stop()
    return stream.taken


async def test_endless_replies_are_given_up() -> None:
    block = b"x" * 65536
    head = OK + b"Content-Length: 1099511627776\r\n\r\n"
    assert await endless(head, block) < JSON_LIMIT_BYTES + (1 << 20)
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    assert await endless(chunked, b"10000\r\n" + block + b"\r\n") < JSON_LIMIT_BYTES + (1 << 20)
    assert await endless(OK, b"X-Header: abc\r\n" * 100) < HEAD_LIMIT_BYTES + (1 << 17)
    assert await endless(chunked, b"0" * 1000) < HEAD_LIMIT_BYTES + (1 << 17)


@pytest.mark.parametrize(
    ("status", "expected", "usable"),
    [
        (400, UsageError, False),
        (404, NotFound, True),
        (409, UsageError, True),
        (413, UsageError, False),
        (422, AgentFailure, True),
        (426, AgentFailure, True),
        (431, AgentFailure, False),
        (500, AgentFailure, True),
        (599, AgentFailure, True),
    ],
)
async def test_error_statuses(status: int, expected: type[BangerError], usable: bool) -> None:
    """After some of them the agent waits for the request that resynchronises."""
    body = b'{"error":"\\u001b[2Jno\\nway\\u202e","errno":22,"more":[]}'
    connection = AgentConnection(Canned([reply(status, body)]))
    with pytest.raises(BangerError) as caught:
        await connection.request("GET", "/x")
    assert type(caught.value) is expected
    assert caught.value.message == "?[2Jno?way?"
    assert connection.idle is usable
    if isinstance(caught.value, AgentFailure):
        assert (caught.value.status, caught.value.errno) == (status, 22)


@pytest.mark.parametrize(
    "body",
    [b"", b"no json", b'{"error":"\xff\xfe"}', b"[" * 100_000, b'{"error":5}', b'{"error":null}'],
)
async def test_failure_that_says_nothing_usable(body: bytes) -> None:
    with pytest.raises(AgentFailure, match="status 500"):
        await AgentConnection(Canned([reply(500, body)])).request("GET", "/x")


async def test_long_error_is_cut() -> None:
    body = b'{"error":"' + b"x" * 100_000 + b'"}'
    with pytest.raises(AgentFailure) as caught:
        await AgentConnection(Canned([reply(500, body)])).request("GET", "/x")
    assert len(str(caught.value)) < 1000


async def test_closed_streams_are_lost_connections() -> None:
    ours, theirs = memory_stream_pair()
    connection = AgentConnection(ours)
    await theirs.aclose()
    with pytest.raises(ConnectionLost):
        await connection.request("GET", "/x")
    await connection.aclose()
    for lost in (connection.send_raw(b"x"), connection.receive_raw()):
        with pytest.raises(ConnectionLost):
            await lost


# --- chance ---

SAMPLES = [
    HEALTH,
    reply(200, b'{"entries":[]}', X_Mode="0644", X_Request_Id="{id}"),
    reply(404, b'{"error":"none","errno":2}'),
    reply(204, b""),
    OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    SWITCHING + frame(STDOUT, b"out") + frame(STDERR, b"err") + exit_frame(),
    SWITCHING + frame(STDIN_CREDIT, b"\0\0\0\x05") + exit_frame(-1, 9),
    b"HTTP/1.1 100 Continue\r\n\r\n" + reply(),
]
ALPHABET = [b"\r\n", b"\0", b"\xff", b": ", b"HTTP/1.1 200 OK\r\n", b"{", b"9" * 20, b"-1", b"{id}"]


def damaged(chance: random.Random) -> bytes:
    """A sample, or several, with some bytes changed, lost, doubled or put in."""
    data = bytearray(b"".join(chance.choices(SAMPLES, k=chance.randint(1, 2))))
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randint(1, 20)]
            case 2:
                data[at:at] = data[at : at + 30]
            case 3:
                data[at:at] = chance.choice(ALPHABET)
            case 4:
                data[at:] = chance.randbytes(chance.randint(0, 50))
        if not data:
            data += b"x"
    return bytes(data)


def in_pieces(data: bytes, chance: random.Random) -> Iterator[bytes]:
    while data:
        size = chance.choice((1, 7, 40, len(data)))
        yield data[:size]
        data = data[size:]


async def request(connection: AgentConnection) -> None:
    await connection.request("GET", "/x")
    await connection.request("PUT", "/y", body=b"{}")


async def download(connection: AgentConnection) -> None:
    _, chunks = await connection.download("/x")
    async for _ in chunks:
        pass
    connection.end_download()


async def execute(connection: AgentConnection) -> None:
    session = ExecSession(connection, await connection.upgrade("/v1/exec", "banger-exec", b"{}"))
    async for _ in session.outputs():
        pass
    connection.restart()
    await connection.request("GET", "/x")


async def resynchronise(connection: AgentConnection) -> None:
    await connection.resynchronise()
    await connection.request("GET", "/x")


USES: list[Callable[[AgentConnection], Awaitable[None]]] = [
    *(request, download, execute, resynchronise)
]


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_but_declared_errors_comes_of_damage(seed: int) -> None:
    chance = random.Random(seed)
    outcomes: dict[str, int] = {}
    begun = time.monotonic()
    for number in range(5_500):
        data = damaged(chance)
        connection = AgentConnection(Canned(in_pieces(data, chance)))
        try:
            await USES[number % len(USES)](connection)
        except BangerError as error:
            outcome = type(error).__name__
        except Exception as error:
            raise AssertionError(f"{USES[number % len(USES)]} {data!r}") from error
        else:
            outcome = "none"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert time.monotonic() - begun < 60
    assert {"ConnectionLost", "GuestError", "NotFound", "none"} <= outcomes.keys()


async def test_a_command_may_be_silent_for_hours(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    connection = AgentConnection(ours)

    async def speak_late() -> None:
        await trio.sleep(4 * 3600)
        await theirs.send_all(b"at last")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak_late)
        assert await connection.receive_raw() == b"at last"


async def test_a_silent_command_whose_agent_is_gone_ends(autojump_clock: MockClock) -> None:
    ours, _theirs = memory_stream_pair()
    looked: list[float] = []

    async def look() -> None:
        looked.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if len(looked) == 3:
            raise ConnectionLost("the agent does not answer")

    session = ExecSession(AgentConnection(ours), b"", look=look)
    with pytest.raises(ConnectionLost):
        await anext(session.outputs())
    assert len(looked) == 3
