"""Homes that an older version left one level too deep."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.agent.agent_client import AgentClient
from tests.agent.conftest import StartAgent

PLACE = "/root/root"
MOVED = f"what an older version had left in {PLACE} was moved up"
ASIDE = ".banger-unnest"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """``/root`` of a root directory, with a nested home in it."""
    home = tmp_path / "root/root"
    (home / "root").mkdir(parents=True)
    (home / "root/.bashrc").write_text("mine")
    return home


@pytest.fixture
def guest(start_agent: StartAgent, home: Path) -> AgentClient:
    return start_agent("--root", str(home.parent))


def unnest(guest: AgentClient) -> list[str]:
    """What the agent has to say of it."""
    reply = guest.request("POST", "/v1/configure", {"version": 1, "unnest": ["/root"]})
    assert reply.status == 200
    assert reply.json["applied"] == ["unnest"]
    notes: list[str] = reply.json.get("notes", [])
    assert guest.request("GET", "/v1/configured").json.get("notes", []) == notes
    return notes


def tree(home: Path) -> dict[str, str | None]:
    """Paths and contents; None for a directory, a link's target."""
    return {
        str(path.relative_to(home)): str(path.readlink())
        if path.is_symlink()
        else path.read_text()
        if path.is_file()
        else None
        for path in home.rglob("*")
    }


def test_it_is_moved_up_whole(guest: AgentClient, home: Path) -> None:
    nested = home / "root"
    (nested / "work/deep").mkdir(parents=True)
    (nested / "work/deep/file").write_text("x")
    (nested / "root").mkdir()
    (nested / "root/inner").write_text("a directory that is really called so")
    (nested / "link").symlink_to("nowhere")
    (nested / ".ssh").mkdir(mode=0o700)
    (nested / ".ssh/authorized_keys").write_text("their key")
    (nested / ".ssh/id").write_text("key")
    (home / ".ssh").mkdir()
    (home / ".ssh/authorized_keys").write_text("our key")
    (home / "lost+found").mkdir()
    (nested / "work").chmod(0o2770)
    os.setxattr(nested / ".bashrc", "user.mark", b"kept")
    nested.chmod(0o710)
    inode = (nested / "work/deep/file").stat().st_ino
    assert unnest(guest) == [MOVED]
    assert tree(home) == {
        ".bashrc": "mine",
        ".ssh": None,
        ".ssh/authorized_keys": "our key",
        ".ssh/authorized_keys.nested": "their key",
        ".ssh/id": "key",
        "link": "nowhere",
        "lost+found": None,
        "root": None,
        "root/inner": "a directory that is really called so",
        "work": None,
        "work/deep": None,
        "work/deep/file": "x",
    }
    assert (home / "work/deep/file").stat().st_ino == inode
    assert home.stat().st_mode & 0o7777 == 0o710
    assert (home / "work").stat().st_mode & 0o7777 == 0o2770
    assert os.getxattr(home / ".bashrc", "user.mark") == b"kept"
    assert unnest(guest) == [], "once is enough"


@pytest.mark.parametrize("what", ["file", "link", "directory", "deep"])
def test_what_is_in_the_way_keeps_all_of_it_where_it_is(
    guest: AgentClient, home: Path, what: str
) -> None:
    (home / "root/.config").mkdir()
    (home / "root/.config/tool").write_text("old")
    (home / "root/a").write_text("a")
    way = "a"
    match what:
        case "file":
            (home / "a").write_text("new")
        case "link":
            (home / "a").symlink_to("root/a")
        case "directory":
            (home / "a").mkdir()
        case "deep":
            way = ".config/tool"
            (home / ".config").mkdir()
            (home / ".config/tool").write_text("new")
    before = tree(home)
    for _ in range(2):
        assert unnest(guest) == [
            f"{PLACE}, left by an older version, was not moved up: /root/{way} is in the way"
        ]
        assert tree(home) == before
    (home / way).rename(home / "set aside")
    assert unnest(guest) == [MOVED]
    assert (home / ".config/tool").read_text() == "old"


def test_directories_of_ones_own_are_left_alone(guest: AgentClient, home: Path) -> None:
    (home / "root/.bashrc").rename(home / "root/README")
    before = tree(home)
    assert unnest(guest) == []
    assert tree(home) == before
    (home / "root").rename(home / "other")
    (home / "root").symlink_to("other")
    (home / "other/.bashrc").write_text("x")
    assert unnest(guest) == []
    assert (home / "root").is_symlink()


def test_an_interrupted_repair_goes_on(guest: AgentClient, home: Path) -> None:
    (home / "root").rename(home / ASIDE)
    (home / ASIDE / ".bashrc").rename(home / ".bashrc")
    (home / ASIDE / "rest").write_text("rest")
    assert unnest(guest) == [MOVED]
    assert tree(home) == {".bashrc": "mine", "rest": "rest"}


def test_wrong_paths(guest: AgentClient) -> None:
    for paths in (["/none"], ["root"], ["/root/../root"], "/root", [1]):
        reply = guest.request("POST", "/v1/configure", {"version": 1, "unnest": paths})
        assert reply.status == 207
        assert reply.json["failed"][0]["part"] == "unnest"
