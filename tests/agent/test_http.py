"""Requests and replies: what is answered, what is refused, and how."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.agent.agent_client import AgentClient, file_target

JSON_LIMIT = 4 * 1024 * 1024


def test_healthz(agent: AgentClient) -> None:
    reply = agent.request("GET", "/healthz")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    health = reply.json
    assert health["status"] == "ok"
    assert health["protocol"] == 1
    assert health["stage"] == "system"
    assert health["hostname"] == socket.gethostname()
    assert health["init"] in ("systemd", "other")
    assert health["uptime_ms"] > 0
    assert isinstance(health["ssh"], bool)
    assert isinstance(health["sessions"], int)
    assert len(health["boot_id"]) == 36


@pytest.mark.parametrize("line", [b"PING\n", b"PING\r\n"])
def test_ping(agent: AgentClient, line: bytes) -> None:
    agent.send(line)
    assert agent.take(5) == b"PONG\n"


def test_ping_in_pieces_and_between_requests(agent: AgentClient) -> None:
    for byte in b"PING\n":
        agent.send(bytes([byte]))
    assert agent.take(5) == b"PONG\n"
    assert agent.request("GET", "/healthz").status == 200
    agent.send(b"PING\nPING\r\nPING\n")
    assert agent.take(15) == b"PONG\n" * 3


def test_request_id_is_echoed(agent: AgentClient) -> None:
    wanted = "a" * 60 + "-Z09"
    assert agent.request("GET", "/healthz", X_Request_Id=wanted).headers["x-request-id"] == wanted
    assert agent.request("GET", "/none", X_Request_Id="e-1").headers["x-request-id"] == "e-1"
    assert "x-request-id" not in agent.request("GET", "/healthz").headers


def test_keep_alive_and_pipelining(agent: AgentClient) -> None:
    agent.send(b"GET /healthz HTTP/1.1\r\nX-Request-Id: one\r\n\r\n" * 3)
    for _ in range(3):
        assert agent.reply().status == 200


def test_request_in_single_bytes(agent: AgentClient) -> None:
    for byte in b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n":
        agent.send(bytes([byte]))
    assert agent.reply().status == 200


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/healthz/", 404),
        ("GET", "/v1/exec", 405),
        ("DELETE", "/v1/files", 405),
        ("POST", "/healthz", 405),
        ("GET", "/v1/configured", 404),
        ("GET", "/v1/files", 400),
        ("GET", "/v1/files?path=etc/passwd", 400),
        ("GET", "/v1/files?path=", 400),
        ("GET", "/v1/files?path=%2", 400),
        ("GET", "/v1/files?path=/%zz", 400),
        ("GET", "/v1/files?path=/%00", 400),
        ("GET", "/v1/files?path=/" + "a" * 5000, 400),
        ("GET", "/v1/files?path=/etc/../etc/passwd", 422),
    ],
)
def test_refused_and_the_connection_lives_on(
    agent: AgentClient, method: str, target: str, status: int
) -> None:
    reply = agent.request(method, target)
    assert reply.status == status
    assert set(reply.json) == {"error", "errno"}
    assert "\n" not in reply.json["error"]
    assert agent.request("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz\r\n\r\n", 400),
        (b"GET healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /x HTTP/2.0\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nbad name: x\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nX: a\rb\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nX-Request-Id: a b\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nX-Request-Id: " + b"a" * 65 + b"\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /v1/exec HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"GET /x HTTP/1.1\r\nX: " + b"a" * 16384 + b"\r\n\r\n", 431),
        (b"lower case\r\n\r\n", 400),
        (b"\xff\xfe\xfd", 400),
    ],
)
def test_malformed_heads_are_refused_and_survived(
    agent: AgentClient, head: bytes, status: int
) -> None:
    agent.send(head)
    reply = agent.reply()
    assert reply.status == status
    assert set(reply.json) == {"error", "errno"}
    assert agent.resync().status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1,2",
        b'{"argv":["x"],}',
        b'{"a":1} x',
        b'{"a":01}',
        b'{"a":"\x01"}',
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\u0000"}',
        b'{"a":9223372036854775808}',
        b"[" * 33 + b"]" * 33,
        b"[" * 100000,
        b"[" + b"1," * 200000 + b"1]",
        b"nul",
        b"'x'",
    ],
)
def test_bad_json(agent: AgentClient, body: bytes) -> None:
    for method, target in (("POST", "/v1/exec"), ("PUT", "/v1/clock")):
        reply = agent.request(method, target, body)
        assert reply.status == 400, reply
        assert reply.json["error"]


def test_json_body_too_large(agent: AgentClient) -> None:
    reply = agent.request("POST", "/v1/exec", b" " * (JSON_LIMIT + 1))
    assert reply.status == 413
    assert agent.request("GET", "/healthz").status == 200


def test_body_too_large_to_be_worth_reading(agent: AgentClient) -> None:
    agent.send(b"POST /v1/exec HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nxxxx")
    assert agent.reply().status == 413
    assert agent.resync().status == 200


def test_body_without_length(agent: AgentClient) -> None:
    assert agent.request("POST", "/v1/exec").status == 411
    assert agent.request("PUT", file_target("/tmp/x")).status == 411


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"unix_ns": 1_800_000_000_000_000_000}, 204),
        ({"unix_ns": -1}, 400),
        ({"unix_ns": 1.5}, 400),
        ({"unix_ns": "1"}, 400),
        ({"unix_ns": 1, "more": 1}, 400),
        ({}, 400),
    ],
)
def test_clock(agent: AgentClient, body: dict[str, Any], status: int) -> None:
    reply = agent.request("PUT", "/v1/clock", body)
    assert reply.status == status
    if status == 204:
        assert not reply.body
        assert "content-length" not in reply.headers


@pytest.mark.parametrize("verb", ["poweroff", "reboot"])
def test_power_is_left_alone_outside_of_a_guest(agent: AgentClient, verb: str) -> None:
    reply = agent.request("POST", f"/v1/{verb}")
    assert (reply.status, reply.json["errno"]) == (422, 1)


def test_configuration_needs_a_guest_or_a_root(agent: AgentClient) -> None:
    reply = agent.request("POST", "/v1/configure", {"version": 1})
    assert (reply.status, reply.json["errno"]) == (422, 1)
