"""Random and mutated input: the agent neither crashes, nor hangs, nor loses the way back.

It runs as an unprivileged user on an empty root of its own, for some mutants are valid requests.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.agent.agent_client import AgentClient
from tests.agent.conftest import StartAgent

INPUTS = 20_000
BATCH = 250
WORKERS = 4
DEADLINE_S = 300.0
NOBODY = 65534


def request(method: str, target: str, body: bytes | None = None, *headers: str) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


CONFIG = {
    "version": 1,
    "hostname": "h",
    "resolvers": ["1.2.3.4"],
    "search": ["vm"],
    "hosts": [{"address": "::1", "names": ["a"]}],
    "authorized_keys": [{"user": "root", "keys": ["k"]}],
    "files": [{"path": "/f", "mode": 384, "uid": 0, "gid": 0, "data": "aGVsbG8="}],
    "environment": {"A": "b\\u00e9"},
}
EXEC = json.dumps({"argv": ["none"], "env": {"A": "1"}, "cwd": "/", "timeout_ms": 9}).encode()
HEALTHZ = request("GET", "/healthz")
SEEDS = [
    b"PING\n",
    request("GET", "/healthz", None, "X-Request-Id: abc-1"),
    request("GET", "/v1/configured"),
    request("GET", "/v1/files?path=/f%20"),
    request("PUT", "/v1/files?path=/f&mode=0600&user=1", b"data"),
    request("GET", "/v1/directory?path=/"),
    request("PUT", "/v1/directory?path=/d&mode=0755"),
    request("PUT", "/v1/clock", b'{"unix_ns":1800000000000000000}'),
    request("POST", "/v1/configure", json.dumps(CONFIG).encode()),
    request("POST", "/v1/freeze", b'{"timeout_ms":5}'),
    request("POST", "/v1/exec", EXEC, "Connection: Upgrade", "Upgrade: banger-exec"),
    request("POST", "/v1/poweroff"),
    b"\x01\x00\x00\x00\x03abc\x02\x00\x00\x00\x00\x04\x00\x00\x00\x01\x0f",
]


def mutant(chance: random.Random) -> bytes:
    """Random bytes, or a seed with a few bytes changed, cut out, doubled or inserted."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(1, 64))
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + chance.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = data[at : at + chance.randrange(1, 33)]
        elif kind == 3:
            data[at:at] = chance.choice([b"\0", b"\xff", b"%", b'"', b"{", b"[", b"\r\n", b"9"])
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 5))
    return bytes(data)


@pytest.fixture
def empty_root(tmp_path: Path) -> Path:
    """An unprivileged agent's root."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(root, NOBODY, NOBODY)
        os.chown(root / "etc", NOBODY, NOBODY)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == (Path("/proc/self").owner()) and parent.stat().st_mode & 0o077 == 0:
            parent.chmod(0o711)
    return root


def feed(client: AgentClient, data: bytes) -> int:
    """Send everything, read everything, and count the replies."""
    text: list[bytes] = []

    def read() -> None:
        while received := client.socket.recv(65536):
            text.append(received)

    reader = threading.Thread(target=read)
    reader.start()
    client.send(data)
    client.socket.shutdown(socket.SHUT_WR)
    reader.join()
    client.close()
    return b"".join(text).count(b"HTTP/1.1 ")


def test_mutated_requests(start_agent: StartAgent, empty_root: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    user = NOBODY if os.geteuid() == 0 else None
    end = time.monotonic() + DEADLINE_S

    def run(number: int) -> int:
        assert time.monotonic() < end, f"too slow: batch {number}, seed {seed}"
        chance = random.Random(seed + number)
        # The healthy request leads the agent back from what the mutant before it did.
        data = b"".join(mutant(chance) + HEALTHZ for _ in range(BATCH))
        return feed(start_agent("--root", str(empty_root), user=user), data)

    with ThreadPoolExecutor(WORKERS) as pool:
        replies = sum(pool.map(run, range(INPUTS // BATCH)))
    # Most inputs are taken for what they are, not swallowed by one before.
    assert replies > INPUTS / 2, f"{replies} replies, seed {seed}"
