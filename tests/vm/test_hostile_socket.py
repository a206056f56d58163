"""Clients that break the daemon's protocol: they get an error or are thrown out, others go on."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from banger.kernel import wire
from banger.kernel.errors import BangerError
from banger.model.requests.exec import Exec, Input
from banger.model.requests.files import WriteFile
from banger.model.requests.vms import ListVms
from tests.vm.instance import Instance, wait_until

ANSWER_S = 5.0


def framed(message: Any) -> bytes:
    body = msgspec.msgpack.encode(message)
    return struct.pack(">I", len(body)) + body


class RawClient:
    """A socket, and frames in any shape."""

    def __init__(self, instance: Instance) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_S)
        self._socket.connect(str(instance.paths.socket))
        self._unframer = wire.Unframer()
        self._messages: list[Any] = []
        assert isinstance(self.receive(), wire.Hello)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def call(self, request: Any, call_id: int = 1) -> Any:
        """The reply to a request of any shape."""
        self.send(framed({"m": "call", "id": call_id, "request": request}))
        return self.receive()

    def receive(self) -> Any:
        """The next message; None at the end of the connection."""
        while not self._messages:
            try:
                data = self._socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            bodies = self._unframer.feed(data)
            self._messages += [wire.server_decoder.decode(body) for body in bodies]
        return self._messages.pop(0)


@pytest.fixture(autouse=True)
def daemon_lives_on(instance: Instance, box: str) -> Any:
    """After each test the same daemon answers at once."""
    instance.run("daemon", "start")
    before = instance.daemon_pid
    yield
    begun = time.monotonic()
    assert instance.status()["pid"] == before
    assert time.monotonic() - begun < 3
    log = instance.paths.daemon_log.read_text()
    assert "unexpectedly" not in log
    assert "crashed" not in log.rpartition("is ready at")[2]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff" * 64,
        struct.pack(">I", wire.FRAME_LIMIT_BYTES + 1),
        struct.pack(">I", 5) + b"hello",
        struct.pack(">I", 0),
        struct.pack(">I", 1) + b"\xc1",
        struct.pack(">I", 1000) + b"\x91" * 1000,
        framed({"m": "dance", "id": 1}),
        framed({"m": "call", "id": "x", "request": {}}),
    ],
    ids="http ones too-long text empty never nested unknown-message wrong-id".split(),
)
def test_what_is_no_message_ends_the_connection(instance: Instance, data: bytes) -> None:
    with RawClient(instance) as client:
        client.send(data)
        assert client.receive() is None


def test_random_bytes(instance: Instance) -> None:
    generator = random.Random(4711)
    for _ in range(50):
        with RawClient(instance) as client:
            client.send(generator.randbytes(generator.randrange(1, 2000)))


@pytest.mark.parametrize(
    "request_",
    [
        {"type": "no.such"},
        {"type": 5},
        {},
        [],
        None,
        "vm.list",
        {"type": "vm.show"},
        {"type": "vm.show", "name": 5},
        {"type": "vm.show", "name": "../../etc"},
        {"type": "vm.show", "name": "a\n"},
        {"type": "vm.show", "name": "x" * 100000},
        {"type": "vm.show", "name": "box", "extra": 1},
        {"type": "vm.create", "name": "../x"},
        {"type": "vm.create", "name": ".deleting-x"},
        {"type": "vm.create", "image": "../../../etc"},
        {"type": "vm.create", "name": "x", "vcpus": 10**6},
        {"type": "vm.create", "name": "x", "memory_mib": -1},
        {"type": "vm.create", "name": "x", "disk_bytes": 1 << 62},
        {"type": "vm.create", "name": "x", "disk_bytes": 1 << 63},
        {"type": "vm.exec", "name": "box", "argv": []},
        {"type": "vm.exec", "name": "box", "argv": ["true"], "rows": 1 << 40, "tty": True},
        {"type": "vm.exec", "name": "box", "argv": ["true"], "timeout_s": -1.0},
        {"type": "vm.exec", "name": "box", "argv": ["true"], "timeout_s": float("nan")},
        {"type": "vm.exec", "name": "box", "argv": ["a\0b"]},
        {"type": "vm.exec", "name": "box", "argv": ["true"], "env": {"A=B": "c"}},
        {"type": "vm.wait", "name": "box", "condition": "running", "timeout_s": 1e300},
        {"type": "file.write", "name": "box", "path": "/tmp/x", "size": -1},
        {"type": "file.read", "name": "box", "path": "relative"},
        {"type": "file.read", "name": "box", "path": "/a\0b"},
        {"type": "image.build", "name": "x", "recipe": "../../bin/sh"},
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_requests_that_are_wrong(instance: Instance, request_: Any) -> None:
    with RawClient(instance) as client:
        reply = client.call(request_)
        assert isinstance(reply, wire.Failed), reply
        assert "internal error" not in reply.error.message
        assert len(reply.error.message) < 20000
        # The connection goes on.
        assert isinstance(client.call({"type": "vm.list"}, 2), wire.Done)
    assert "x" not in instance.names()


def test_a_call_id_twice(instance: Instance) -> None:
    with RawClient(instance) as client:
        call = framed({"m": "call", "id": 7, "request": {"type": "events.watch"}})
        client.send(call + call)
        while (message := client.receive()) is not None:
            assert isinstance(message, wire.Item)


def test_feed_and_cancel_of_no_call(instance: Instance) -> None:
    with RawClient(instance) as client:
        client.send(framed({"m": "feed", "id": 99, "item": {}}))
        client.send(framed({"m": "cancel", "id": 99}))
        assert isinstance(client.call({"type": "vm.list"}), wire.Done)


def test_input_of_the_wrong_type(instance: Instance, box: str) -> None:
    with instance.connect() as connection:
        call_id = connection.begin(Exec(name=box, argv=["cat"]))
        connection.send(wire.Feed(call_id, wire.raw({"not": "an input"})))
        with pytest.raises(BangerError, match="input that does not fit"):
            connection.finish(call_id, object)
    assert instance.sh(box, "echo alive") == "alive\n"


def test_more_input_than_credit(instance: Instance, box: str) -> None:
    with RawClient(instance) as client:
        exec_ = {"type": "vm.exec", "name": box, "argv": ["sleep", "60"]}
        client.send(framed({"m": "call", "id": 1, "request": exec_}))
        item = {"type": "in", "data": bytes(60000)}
        for _ in range(100):
            client.send(framed({"m": "feed", "id": 1, "item": item}))
        while (message := client.receive()) is not None:
            assert isinstance(message, wire.Credit | wire.Failed)
    assert instance.sh(box, "echo alive") == "alive\n"


def test_a_file_longer_than_announced(instance: Instance, box: str) -> None:
    with instance.connect() as connection:
        call_id = connection.begin(WriteFile(box, "/tmp/longer", 3))
        connection.feed(call_id, Input(b"four"))
        with pytest.raises(BangerError, match="not the 3 bytes announced"):
            connection.finish(call_id, type(None))
    instance.sh(box, "test -e /tmp/longer", code=1)
    assert instance.sh(box, "echo alive") == "alive\n"


def test_half_a_frame_holds_nobody_up(instance: Instance) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(RawClient(instance))
            client.send(struct.pack(">I", 1000) + b"x")
        begun = time.monotonic()
        instance.status()
        assert time.monotonic() - begun < 2


def test_a_thousand_calls_at_once(instance: Instance) -> None:
    """Each is answered or refused as one too many."""
    with RawClient(instance) as client, instance.connect() as second:
        calls = [
            framed({"m": "call", "id": number, "request": {"type": "vm.list"}})
            for number in range(1000)
        ]
        with ThreadPoolExecutor(max_workers=1) as pool:
            pool.submit(client.send, b"".join(calls))
            replies = [client.receive() for _ in calls]
        assert sorted(reply.id for reply in replies) == list(range(1000))
        refused = [reply.error.kind for reply in replies if isinstance(reply, wire.Failed)]
        assert set(refused) <= {"Busy"}
        assert len(refused) <= 1000 - 256
        begun = time.monotonic()
        second.call(ListVms())
        assert time.monotonic() - begun < 1


def test_a_client_with_many_requests_is_not_refused(instance: Instance) -> None:
    with instance.connect() as connection:
        outcomes = connection.call_all([ListVms()] * 1000)
    assert len(outcomes) == 1000
    assert all(isinstance(outcome, list) for outcome in outcomes)


def test_a_thousand_calls_whose_replies_nobody_reads(instance: Instance) -> None:
    """The client is no longer listened to; nothing piles up and others are served."""
    with RawClient(instance) as client, contextlib.suppress(TimeoutError):
        for number in range(1000):
            client.send(framed({"m": "call", "id": number, "request": {"type": "vm.list"}}))
            if number % 100 == 0:
                begun = time.monotonic()
                instance.status()
                assert time.monotonic() - begun < 2


def test_more_connections_than_are_served(instance: Instance) -> None:
    """Those beyond the limit are refused; once some have gone others are served again."""
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(str(instance.paths.socket))
        wait_until(lambda: refused(instance), 5, "the refusal")
    wait_until(lambda: not refused(instance), 5, "the service")


def refused(instance: Instance) -> bool:
    done = instance.run("vm", "list", code=None)
    if done.returncode == 5:
        assert "refused the connection" in done.stderr
    else:
        assert done.returncode == 0
    return done.returncode == 5
