"""SSH keys, made by the system's ssh-keygen (ed25519, no passphrase)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import msgspec

from banger.host.paths import make_private
from banger.kernel.errors import CommandFailed, HostNotReady


class KeyPair(msgspec.Struct, frozen=True):
    """``private`` in OpenSSH's format; ``public`` is one line, ``ssh-ed25519 AAAA… comment``."""

    private: bytes
    public: str


def make_key(path: Path, comment: str) -> KeyPair:
    """Make a key at ``path`` (0600) and ``path``.pub; what was there is replaced."""
    program = shutil.which("ssh-keygen")
    if program is None:
        raise HostNotReady(
            "ssh-keygen is not installed", hint="install the Debian package openssh-client"
        )
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        fresh = Path(directory) / path.name
        argv = [program, "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(fresh)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CommandFailed(argv, done.returncode, done.stderr)
        _public(fresh).replace(_public(path))
        fresh.replace(path)
    return read_key(path)


def read_key(path: Path) -> KeyPair:
    return KeyPair(path.read_bytes(), _public(path).read_text().strip())


def _public(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")


def installation_key(path: Path) -> KeyPair:
    """The key with which this installation enters its guests; made when missing."""
    if not path.exists():
        make_private(path.parent)
        return make_key(path, "banger")
    return read_key(path)
