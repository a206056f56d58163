"""What a template forgets, below a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.agent_client import AgentClient
from tests.agent.conftest import StartAgent

MACHINE_ID = "0123456789abcdef0123456789abcdef"
OTHER_ID = "f" * 32
EMPTIED = ["etc/machine-id", "etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ed25519_key.pub"]
FORGOTTEN = [
    "etc/dropbear/dropbear_rsa_host_key",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/random-seed",
    f"run/log/journal/{MACHINE_ID}/system.journal",
    f"var/log/journal/{MACHINE_ID}/system.journal",
    f"var/log/journal/{MACHINE_ID}.work/system.journal",
    "run/systemd/journal/kernel-seqnum",
]
KEPT = [
    "etc/hostname",
    "etc/ssh/sshd_config",
    f"var/log/journal/{OTHER_ID}/system.journal",
    "var/lib/systemd/catalog/database",
    "var/lib/other",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in (*EMPTIED, *FORGOTTEN, *KEPT):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (root / "etc/machine-id").write_text(MACHINE_ID + "\n")
    return root


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


@pytest.fixture
def guest(start_agent: StartAgent, root: Path) -> AgentClient:
    return start_agent("--root", str(root))


def freeze(guest: AgentClient) -> None:
    reply = guest.request("POST", "/v1/freeze", {"timeout_ms": 1000})
    assert reply.status == 200, reply
    assert (reply.json["settled"], reply.json["zeroed_bytes"]) == (True, 0)
    assert reply.json["took_ms"] >= 0


def test_a_template_forgets_who_it_was_and_nothing_else(guest: AgentClient, root: Path) -> None:
    freeze(guest)
    assert files(root) == {*KEPT, *EMPTIED}
    assert {name for name in files(root) if (root / name).read_bytes() == b""} == set(EMPTIED)
    assert not (root / f"var/log/journal/{MACHINE_ID}").exists()


def test_a_guest_without_an_identity_is_frozen_too(guest: AgentClient, root: Path) -> None:
    (root / "etc/machine-id").unlink()
    freeze(guest)
    kept = {name for name in FORGOTTEN if MACHINE_ID in name}
    assert files(root) == {*KEPT, *EMPTIED[1:], *kept}
    freeze(guest)


def test_links_out_of_the_root_are_not_followed(
    guest: AgentClient, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / MACHINE_ID).mkdir(parents=True)
    (outside / MACHINE_ID / "system.journal").write_text("mine")
    (outside / "ssh_host_rsa_key").write_text("mine")
    (root / "run/log/journal" / MACHINE_ID / "link").symlink_to(outside)
    for path in (root / "etc/ssh").iterdir():
        path.unlink()
    (root / "etc/ssh").rmdir()
    (root / "etc/ssh").symlink_to(outside)
    freeze(guest)
    assert files(outside) == {f"{MACHINE_ID}/system.journal", "ssh_host_rsa_key"}
    assert (outside / "ssh_host_rsa_key").read_text() == "mine"
    assert not (root / "run/log/journal" / MACHINE_ID).exists()


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"timeout_ms":-1}', b'{"timeout_ms":"1"}', b'{"timeout_ms":1,"a":2}'],
)
def test_a_body_that_is_not_understood_changes_nothing(
    guest: AgentClient, root: Path, body: bytes
) -> None:
    before = files(root)
    assert guest.request("POST", "/v1/freeze", body).status == 400
    assert files(root) == before
    assert (root / "etc/machine-id").read_text() == MACHINE_ID + "\n"


def test_an_agent_outside_a_guest_freezes_nothing(agent: AgentClient) -> None:
    assert agent.request("POST", "/v1/freeze", {"timeout_ms": 1}).status == 422
