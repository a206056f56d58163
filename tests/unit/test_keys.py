"""SSH keys, made by the real ssh-keygen."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from banger.host.keys import installation_key, make_key, read_key
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


def test_installation_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "id_ed25519"
    first = installation_key(path)
    assert first.public.endswith(" banger")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert installation_key(path) == first


def test_installation_key_half_made_is_made_anew(tmp_path: Path) -> None:
    """The private half comes last: alone, the public one counts for nothing."""
    path = tmp_path / "keys" / "id_ed25519"
    installation_key(path)
    path.unlink()
    assert installation_key(path).public.startswith("ssh-ed25519 ")
    assert public_of(path) in installation_key(path).public


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
