"""SSH keys, made by the real ssh-keygen."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from banger.host import keys
from banger.host.keys import InstallationKey, fingerprint, make_key, read_key
from banger.kernel.errors import CommandFailed, HostNotReady

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


def public_of(path: Path) -> str:
    argv = ["ssh-keygen", "-y", "-P", "", "-f", str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", ["id_ed25519", "host.key", ".hidden"])
def test_key(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    pair = make_key(path, "web-1")
    assert pair == read_key(path)
    kind, _, comment = pair.public.split(" ")
    assert (kind, comment) == ("ssh-ed25519", "web-1")
    assert pair.private.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert pair.public.startswith(public_of(path).rpartition(" ")[0])
    assert {file.name for file in tmp_path.iterdir()} == {name, f"{name}.pub"}


def test_key_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = make_key(path, "a")
    second = make_key(path, "b")
    assert first.private != second.private
    assert read_key(path) == second


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "id_ed25519"


def files(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


def test_installation_key_is_made_once(path: Path) -> None:
    first = InstallationKey(path)
    assert first.pair.public.endswith(" banger")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert (first.retired, first.coming) == ((), None)
    assert InstallationKey(path).pair == first.pair
    assert first.made_at == pytest.approx(time.time(), abs=60)


def test_installation_key_half_made_is_made_anew(path: Path) -> None:
    """The private half comes last: alone, the public one counts for nothing."""
    InstallationKey(path)
    path.unlink()
    assert InstallationKey(path).pair.public.startswith("ssh-ed25519 ")
    assert public_of(path) in InstallationKey(path).pair.public


def test_rotation_on_disk(path: Path) -> None:
    key = InstallationKey(path)
    first = key.pair
    key.prepare()
    assert key.coming is not None
    second = key.coming
    assert key.pair == first == read_key(path)
    assert list(key.wanted) == [first.public, second.public]
    assert key.unwanted == frozenset()
    key.switch()
    assert key.pair == second == InstallationKey(path).pair
    assert list(key.wanted) == [second.public]
    assert key.unwanted == InstallationKey(path).unwanted == {first.public}
    assert files(path) == {"id_ed25519", "id_ed25519.pub", "id_ed25519.retired"}
    assert all(file.stat().st_mode & 0o077 in (0, 0o044) for file in path.parent.iterdir())
    assert path.stat().st_mode & 0o777 == 0o600


def test_abandoned(path: Path) -> None:
    key = InstallationKey(path)
    first = key.pair
    key.prepare()
    assert key.coming is not None
    second = key.coming.public
    key.abandon()
    key.abandon()
    assert key.pair == first
    assert list(key.wanted) == [first.public]
    assert key.unwanted == {second}
    assert files(path) == {"id_ed25519", "id_ed25519.pub", "id_ed25519.retired"}


def test_killed_before_the_switch(path: Path) -> None:
    key = InstallationKey(path)
    key.prepare()
    assert key.coming is not None
    again = InstallationKey(path)
    assert again.pair == key.pair
    assert again.coming is None
    assert again.unwanted == {key.coming.public}


def test_killed_between_the_halves(path: Path) -> None:
    key = InstallationKey(path)
    first = key.pair
    key.prepare()
    assert key.coming is not None
    path.with_name("id_ed25519.new").replace(path)
    again = InstallationKey(path)
    assert again.pair == key.coming == read_key(path)
    assert again.unwanted == {first.public}
    assert not list(path.parent.glob("*.new*"))


def test_former_keys_are_remembered_but_not_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "RETIRED_LIMIT", 3)
    key = InstallationKey(path)
    seen = []
    for _ in range(4):
        key.prepare()
        seen.append(key.pair.public)
        key.switch()
    assert key.unwanted == set(seen[-2:])


def test_fingerprint(path: Path) -> None:
    pair = InstallationKey(path).pair
    argv = ["ssh-keygen", "-l", "-f", str(path)]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert listed.split()[1] == fingerprint(pair.public)


def test_failure_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bin" / "ssh-keygen"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'out of entropy' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    with pytest.raises(CommandFailed, match="exit 3: out of entropy"):
        make_key(tmp_path / "key", "x")
    assert list(tmp_path.iterdir()) == [broken.parent]
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HostNotReady, match="openssh-client"):
        make_key(tmp_path / "key", "x")
