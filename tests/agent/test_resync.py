"""A client finds the way back, whatever its predecessor left on the wire."""

from __future__ import annotations

import time

import pytest

from tests.agent.agent_client import STDIN, AgentClient, file_target

QUICK_S = 2.0


@pytest.mark.parametrize(
    "rubbish",
    [
        b"POST /v1/exec HT",
        b"POST /v1/exec HTTP/1.1\r\nConte",
        b"POST /v1/poweroff HTTP/1.1\r\nX-Foo: b",
        b"\xff" * 30000,
        b"A" * 20000,
        b"\x01\x00\x00",
        b"\x01\x00\x01\x00\x00abc",
        b"\x02\xff\xff\xff\xffabc",
        b"PIN",
        b"\r\n\r\n",
        b"{}",
    ],
)
def test_rubbish_before_a_request(agent: AgentClient, rubbish: bytes) -> None:
    agent.send(rubbish)
    begun = time.monotonic()
    assert agent.resync().status == 200
    assert time.monotonic() - begun < QUICK_S
    assert agent.request("GET", "/healthz").status == 200


def test_torn_body(agent: AgentClient) -> None:
    target = file_target("/nonexistent/x")
    agent.send(f"PUT {target} HTTP/1.1\r\nContent-Length: 100000\r\n\r\nabc".encode())
    begun = time.monotonic()
    assert agent.resync().status == 200
    assert time.monotonic() - begun < QUICK_S
    assert agent.run("echo", "on").stdout == b"on\n"


def test_request_in_the_middle_of_a_command(agent: AgentClient) -> None:
    assert agent.start("sh", "-c", "while :; do echo flood; done").status == 101
    agent.until_output(b"flood")
    assert agent.resync().json["sessions"] >= 0
    assert agent.run("echo", "new").stdout == b"new\n"


def test_torn_frame_in_the_middle_of_a_command(agent: AgentClient) -> None:
    assert agent.start("sleep", "1000").status == 101
    agent.send(b"\x01\x00\x00\x10\x00torn")
    begun = time.monotonic()
    assert agent.resync().status == 200
    assert time.monotonic() - begun < QUICK_S


def test_stdin_that_looks_like_a_request_is_stdin(agent: AgentClient) -> None:
    text = b"GET /healthz HTTP/1.1\r\nX-Request-Id: x\r\n\r\n"
    assert agent.run("cat", stdin=text).stdout == text


@pytest.mark.parametrize(
    "garbage", [b"\x05", b"\x00", b"\x11\x00\x00\x00\x00", b"\x01\x00\x10\x00\x00", b"\xff" * 100]
)
def test_garbage_frame_ends_the_command(agent: AgentClient, garbage: bytes) -> None:
    assert agent.start("sleep", "1000").status == 101
    agent.send(garbage)
    assert agent.resync().status == 200
    assert agent.run("echo", "ok").stdout == b"ok\n"


def test_frames_after_exit_are_ignored(agent: AgentClient) -> None:
    assert agent.run("true").code == 0
    for kind, payload in ((STDIN, b"late"), (2, b""), (3, b"\0\x18\0\x50"), (4, b"\x0f")):
        agent.send_frame(kind, payload)
    assert agent.request("GET", "/healthz").status == 200


def test_more_stdin_than_the_window_ends_the_command(agent: AgentClient) -> None:
    assert agent.start("sleep", "1000").status == 101
    for _ in range(8):
        agent.send_frame(STDIN, b"x" * 65536)
    assert agent.resync().status == 200
