"""Guest configurations, laid down below a directory."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.agent.agent_client import AgentClient, Reply
from tests.agent.conftest import StartAgent

MACHINE_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with one user, who is whoever runs the tests."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    ids = f"{os.geteuid()}:{os.getegid()}"
    (root / "etc/passwd").write_text(f"broken\nme:x:{ids}:Me:/home/me:/bin/sh\n")
    (root / "home/me").mkdir(parents=True)
    return root


@pytest.fixture
def guest(start_agent: StartAgent, root: Path) -> AgentClient:
    """An agent whose root that is."""
    return start_agent("--root", str(root))


def configure(client: AgentClient, **parts: Any) -> Reply:
    """POST a configuration of these parts."""
    return client.request("POST", "/v1/configure", {"version": 1, **parts})


def file(path: str, data: bytes = b"data", **fields: int) -> dict[str, Any]:
    """One entry of `files`, owned by whoever runs the tests."""
    owner = {"uid": os.geteuid(), "gid": os.getegid()}
    return {"path": path, "data": base64.b64encode(data).decode(), **owner, **fields}


def names(directory: Path) -> list[str]:
    """What is in a directory, sorted."""
    return sorted(entry.name for entry in directory.iterdir())


def test_whole_document(guest: AgentClient, root: Path) -> None:
    (root / "etc/resolv.conf").symlink_to("../run/resolved/stub.conf")
    reply = configure(
        guest,
        hostname="testbox",
        machine_id=MACHINE_ID,
        interfaces=[{"mac": "02:fc:ac:1f:00:05", "address": "172.31.0.5/22"}],
        resolvers=["172.31.0.1", "fd00::1"],
        search=["vm", "example.org"],
        hosts=[{"address": "172.31.0.5", "names": ["testbox", "testbox.vm"]}],
        authorized_keys=[{"user": "me", "keys": ["ssh-ed25519 AAAA a", "ssh-ed25519 BBBB b"]}],
        files=[file("/srv/deep/key", b"\0\1\2", mode=0o600)],
        mounts=[{"serial": "work", "path": "/root", "type": "ext4"}],
        environment={"LANG": "C.UTF-8", "EMPTY": ""},
        first_boot=[["/bin/false"]],
        grow_root=True,
    )
    done = [
        "hostname", "machine_id", "resolvers", "hosts", "authorized_keys", "files", "environment",
    ]  # fmt: skip
    assert (reply.status, reply.json) == (200, {"applied": done})
    assert (root / "etc/hostname").read_text() == "testbox\n"
    assert (root / "etc/machine-id").read_text() == MACHINE_ID + "\n"
    resolv = root / "etc/resolv.conf"
    assert not resolv.is_symlink()
    assert (
        resolv.read_text() == "search vm example.org\nnameserver 172.31.0.1\nnameserver fd00::1\n"
    )
    assert (root / "etc/hosts").read_text() == (
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
        "172.31.0.5 testbox testbox.vm\n"
    )
    keys = root / "home/me/.ssh/authorized_keys"
    assert keys.read_text() == "ssh-ed25519 AAAA a\nssh-ed25519 BBBB b\n"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.parent.stat().st_mode) == 0o700
    key = root / "srv/deep/key"
    assert key.read_bytes() == b"\0\1\2"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o755
    assert guest.request("GET", "/v1/configured").json == {"applied": done}
    assert names(root / "etc") == [
        "hostname", "hosts", "machine-id", "passwd", "resolv.conf",
    ]  # fmt: skip


def test_twice_is_the_same_as_once(guest: AgentClient, root: Path) -> None:
    for name in ("one", "two"):
        assert configure(guest, hostname=name, machine_id=MACHINE_ID).status == 200
        keys = [{"user": "me", "keys": [f"ssh-ed25519 {name}"]}]
        assert configure(guest, authorized_keys=keys).status == 200
    assert (root / "etc/hostname").read_text() == "two\n"
    assert (root / "home/me/.ssh/authorized_keys").read_text() == "ssh-ed25519 two\n"


def test_environment_reaches_commands(guest: AgentClient) -> None:
    assert configure(guest, environment={"LANG": "C.UTF-8", "A": "1", "B": "2"}).status == 200
    script = "echo $LANG $A $B"
    user = str(os.geteuid())
    done = guest.run("sh", "-c", script, env={"B": "mine"}, user=user, cwd="/")
    assert done.stdout == b"C.UTF-8 1 mine\n"
    assert configure(guest, environment={}).status == 200
    assert guest.run("sh", "-c", script, user=user, cwd="/").stdout == b"\n"


def test_empty_lists(guest: AgentClient, root: Path) -> None:
    (root / "etc/resolv.conf").write_text("mine\n")
    assert configure(guest, resolvers=[], hosts=[], files=[], authorized_keys=[]).status == 200
    assert (root / "etc/resolv.conf").read_text() == "mine\n"
    assert (root / "etc/hosts").read_text().count("\n") == 2


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"version":2}', b'{"version":"1"}', b'{"version":1', b"null"]
)
def test_not_a_configuration(guest: AgentClient, root: Path, body: bytes) -> None:
    assert guest.request("POST", "/v1/configure", body).status == 400
    assert names(root / "etc") == ["passwd"]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("hostname", "a\nb"),
        ("hostname", ""),
        ("hostname", "x" * 65),
        ("hostname", 5),
        ("machine_id", MACHINE_ID.upper()),
        ("machine_id", "0"),
        ("resolvers", ["1.2.3.4\nsearch evil"]),
        ("resolvers", ["1.2.3"]),
        ("resolvers", "1.2.3.4"),
        ("resolvers", [1]),
        ("hosts", [{"address": "1.2.3.4", "names": ["a b"]}]),
        ("hosts", [{"address": "x", "names": ["a"]}]),
        ("hosts", [{"address": "1.2.3.4", "names": []}]),
        ("hosts", [[]]),
        ("authorized_keys", [{"user": "me", "keys": ["a\nb"]}]),
        ("authorized_keys", [{"user": "nobody-here", "keys": []}]),
        ("authorized_keys", [{}]),
        ("files", [{"path": "/x", "data": "####"}]),
        ("files", [{"path": "/x"}]),
        ("files", [{"path": "/x", "data": "", "mode": 65536}]),
        ("files", [{"path": "/x", "data": "", "uid": -1}]),
        ("files", {}),
        ("environment", {"A=B": "x"}),
        ("environment", []),
        ("surprise", 1),
    ],
)
def test_a_part_that_fails_is_reported_and_the_others_applied(
    guest: AgentClient, root: Path, part: str, value: object
) -> None:
    other = "machine_id" if part == "hostname" else "hostname"
    fine = {"hostname": "good", "machine_id": MACHINE_ID}[other]
    reply = configure(guest, **{part: value, other: fine})
    assert reply.status == 207
    assert reply.json["applied"] == [other]
    assert [failure["part"] for failure in reply.json["failed"]] == [part]
    assert all(set(failure) == {"part", "error", "errno"} for failure in reply.json["failed"])
    assert guest.request("GET", "/v1/configured").json == reply.json
    assert not (root / "etc/resolv.conf").exists()
    assert not (root / "x").exists()


def test_one_bad_file_does_not_stop_the_next(guest: AgentClient, root: Path) -> None:
    reply = configure(guest, files=[{"path": "/bad", "data": "!"}, file("/good")])
    assert reply.status == 207
    assert (root / "good").read_bytes() == b"data"


@pytest.mark.parametrize(
    "path", ["/../escaped", "/a/../../escaped", "/..", "relative", "", "/", "/a/", "/" + "x" * 300]
)
def test_paths_that_are_refused(guest: AgentClient, root: Path, tmp_path: Path, path: str) -> None:
    reply = configure(guest, files=[file(path)])
    assert (reply.status, reply.json["applied"]) == (207, [])
    assert not (tmp_path / "escaped").exists()
    assert not (root / "escaped").exists()


@pytest.mark.parametrize("absolute", [True, False])
def test_symlinked_parents_stay_inside(
    guest: AgentClient, root: Path, tmp_path: Path, absolute: bool
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "link").symlink_to(outside if absolute else "../outside")
    reply = configure(guest, files=[file("/link/stolen"), file("/link/deep/er/stolen")])
    assert reply.status in (200, 207)
    assert list(outside.iterdir()) == []


def test_a_users_symlinks_are_not_followed(guest: AgentClient, root: Path, tmp_path: Path) -> None:
    victim = root / "victim"
    victim.mkdir(mode=0o755)
    (root / "home/me/.ssh").symlink_to("/victim")
    keys = [{"user": "me", "keys": ["ssh-ed25519 AAAA"]}]
    reply = configure(guest, authorized_keys=keys)
    assert reply.status == 207
    assert list(victim.iterdir()) == []
    (root / "home/me/.ssh").unlink()
    (root / "home/me/.ssh").mkdir()
    (root / "home/me/.ssh/authorized_keys").symlink_to("/victim/file")
    assert configure(guest, authorized_keys=keys).status == 200
    assert list(victim.iterdir()) == []


def test_dbus_copy_of_the_machine_id_follows(guest: AgentClient, root: Path) -> None:
    (root / "var/lib/dbus").mkdir(parents=True)
    (root / "var/lib/dbus/machine-id").write_text("old\n")
    assert configure(guest, machine_id=MACHINE_ID).status == 200
    assert (root / "var/lib/dbus/machine-id").read_text() == MACHINE_ID + "\n"


def test_home_that_is_missing_is_made(guest: AgentClient, root: Path) -> None:
    (root / "home/me").rmdir()
    reply = configure(guest, authorized_keys=[{"user": "me", "keys": ["k"]}])
    assert reply.status == 200
    assert (root / "home/me/.ssh/authorized_keys").read_text() == "k\n"


def test_large_file(guest: AgentClient, root: Path) -> None:
    data = os.urandom(2 * 1024 * 1024)
    assert configure(guest, files=[file("/big", data)]).status == 200
    assert (root / "big").read_bytes() == data


def test_a_small_file_that_fits_is_written_into(guest: AgentClient, root: Path) -> None:
    path = root / "there"
    path.write_bytes(b"a longer text")
    path.chmod(0o640)
    inode = path.stat().st_ino
    assert configure(guest, files=[file("/there", b"short", mode=0o640)]).status == 200
    assert (path.read_bytes(), path.stat().st_ino) == (b"short", inode)


def test_a_file_that_does_not_fit_is_replaced(guest: AgentClient, root: Path) -> None:
    path, other = root / "there", root / "other"
    other.write_bytes(b"other's")
    other.chmod(0o640)
    path.hardlink_to(other)
    assert configure(guest, files=[file("/there", b"new", mode=0o640)]).status == 200
    assert (path.read_bytes(), other.read_bytes()) == (b"new", b"other's")
    inode = path.stat().st_ino
    assert configure(guest, files=[file("/there", b"new", mode=0o600)]).status == 200
    assert path.stat().st_ino != inode
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
