"""Files and directories of the guest over HTTP."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.agent.agent_client import AgentClient, file_target, target

MIB = 1024 * 1024
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


def mine(**parameters: str) -> dict[str, str]:
    """Files are root's by default; tests may run as anyone."""
    return parameters if os.geteuid() == 0 else {"user": str(os.geteuid()), **parameters}


@pytest.mark.parametrize("size", [0, 1, 65536, 5 * MIB + 7])
def test_put_and_get(agent: AgentClient, tmp_path: Path, size: int) -> None:
    path = tmp_path / "a b&c=d+é%.bin"
    data = os.urandom(size)
    assert agent.request("PUT", file_target(str(path), **mine()), data).status == 201
    assert path.read_bytes() == data
    reply = agent.request("GET", file_target(str(path)))
    assert (reply.status, reply.body) == (200, data)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["x-mode"] == "0644"
    assert reply.headers["x-uid"] == str(os.geteuid())
    assert reply.headers["x-gid"] == str(path.stat().st_gid)
    assert int(reply.headers["x-mtime"]) == int(path.stat().st_mtime)


def test_mode(agent: AgentClient, tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert agent.request("PUT", file_target(str(path), **mine(mode="4711")), b"x").status == 201
    assert stat.S_IMODE(path.stat().st_mode) == 0o4711
    for bad in ("8", "rwx", "10000", "-1", "", "0000000644"):
        assert agent.request("PUT", file_target(str(path), mode=bad), b"y").status == 400
    assert path.read_bytes() == b"x"


@needs_root
def test_owner(agent: AgentClient, tmp_path: Path) -> None:
    path = tmp_path / "f"
    for user, uid in (("nobody", 65534), ("12345", 12345), ("0", 0)):
        assert agent.request("PUT", file_target(str(path), user=user), b"x").status == 201
        assert path.stat().st_uid == uid
    reply = agent.request("PUT", file_target(str(path), user="no-such-user"), b"x")
    assert (reply.status, reply.json["errno"]) == (422, 2)


def test_put_is_atomic(agent: AgentClient, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    head = f"PUT {file_target(str(path))} HTTP/1.1\r\nContent-Length: 99999\r\n\r\n"
    agent.send(head.encode() + b"new")
    assert agent.resync().status == 200
    assert path.read_text() == "old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["agent-0.log", "f"]


def test_put_replaces_a_symlink_and_not_its_target(agent: AgentClient, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "link").symlink_to("target")
    link = str(tmp_path / "link")
    assert agent.request("PUT", file_target(link, **mine()), b"new").status == 201
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "kept"


def test_wrong_type_and_missing(agent: AgentClient, tmp_path: Path) -> None:
    directory, file = str(tmp_path / "d"), str(tmp_path / "f")
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    os.mkfifo(tmp_path / "fifo")
    missing = str(tmp_path / "none" / "x")
    for method, where, status in (
        ("GET", file_target(directory), 409),
        ("GET", file_target(str(tmp_path / "fifo")), 409),
        ("GET", file_target("/dev/null"), 409),
        ("GET", file_target(missing), 404),
        ("GET", file_target(file + "/x"), 409),
        ("PUT", file_target(directory), 409),
        ("PUT", file_target(directory + "/"), 409),
        ("PUT", file_target("/"), 409),
        ("PUT", file_target(missing), 404),
        ("GET", target("/v1/directory", file), 409),
        ("GET", target("/v1/directory", missing), 404),
        ("PUT", target("/v1/directory", file), 409),
        ("PUT", target("/v1/directory", missing), 404),
        ("PUT", file_target(str(tmp_path / ("x" * 300))), 422),
    ):
        body = b"data" if method == "PUT" else None
        reply = agent.request(method, where, body)
        assert reply.status == status, (method, where, reply)
        assert agent.request("GET", "/healthz").status == 200


def test_refused_put_leaves_nothing(agent: AgentClient, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    reply = agent.request("PUT", file_target(str(tmp_path / "d")), b"x" * MIB)
    assert reply.status == 409
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["agent-0.log", "d"]


def test_full_disk(agent: AgentClient) -> None:
    reply = agent.request("PUT", file_target("/proc/sys/x"), b"x")
    assert reply.status in (404, 422)
    assert agent.request("GET", "/healthz").status == 200


def test_kernel_files_without_a_size(agent: AgentClient) -> None:
    reply = agent.request("GET", file_target("/proc/version"))
    assert (reply.status, reply.body[:5]) == (200, b"Linux")


def test_directory_made_and_listed(agent: AgentClient, tmp_path: Path) -> None:
    where = str(tmp_path / "d")
    for _ in range(2):
        reply = agent.request("PUT", target("/v1/directory", where, **mine(mode="0750")))
        assert (reply.status, reply.json) == (201, {})
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o750
    assert agent.request("PUT", target("/v1/directory", where + "/sub/", **mine())).status == 201
    (tmp_path / "d" / 'quote"\n').write_text("12345")
    (tmp_path / "d" / "link").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "d" / "fifo", 0o600)
    (tmp_path / "d" / os.fsdecode(b"bad\xff")).write_text("")
    reply = agent.request("GET", target("/v1/directory", where))
    assert reply.status == 200
    entries = {entry["name"]: entry for entry in reply.json["entries"]}
    assert {name: entry["type"] for name, entry in entries.items()} == {
        "sub": "directory",
        'quote"\n': "file",
        "link": "symlink",
        "fifo": "other",
        "bad\ufffd": "file",
    }
    assert entries['quote"\n']["size"] == 5
    assert entries["fifo"]["mode"] == 0o600


def test_directory_with_too_many_entries(agent: AgentClient, tmp_path: Path) -> None:
    first = tmp_path / "many"
    first.mkdir()
    (first / "0").write_text("")
    for number in range(1, 65537):
        os.link(first / "0", first / str(number)) if number < 60000 else (
            first / str(number)
        ).symlink_to("0")
    assert agent.request("GET", target("/v1/directory", str(first))).status == 413
    (first / "65536").unlink()
    reply = agent.request("GET", target("/v1/directory", str(first)))
    assert (reply.status, len(reply.json["entries"])) == (200, 65536)
