"""SSH keys, made by the system's ssh-keygen (ed25519, no passphrase)."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from banger.host.paths import make_private
from banger.kernel.errors import CommandFailed, HostNotReady
from banger.kernel.store import sync_directory, write_durably

COMMENT = "banger"
"""Of the installation's key."""

RETIRED_LIMIT = 100
"""How many former keys are remembered."""


class KeyPair(msgspec.Struct, frozen=True):
    """``private`` in OpenSSH's format; ``public`` is one line, ``ssh-ed25519 AAAA… comment``."""

    private: bytes
    public: str


def make_key(path: Path, comment: str) -> KeyPair:
    """Make a key at ``path`` (0600) and ``path``.pub; what was there is replaced."""
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        fresh = Path(directory) / path.name
        _ssh_keygen(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(fresh)])
        _public(fresh).replace(_public(path))
        fresh.replace(path)
    return read_key(path)


def read_key(path: Path) -> KeyPair:
    return KeyPair(path.read_bytes(), _public(path).read_text().strip())


def _public(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")


def _ssh_keygen(arguments: Sequence[str]) -> str:
    """Run it; its stdout."""
    program = shutil.which("ssh-keygen")
    if program is None:
        raise HostNotReady(
            "ssh-keygen is not installed", hint="install the Debian package openssh-client"
        )
    argv = [program, *arguments]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise CommandFailed(argv, done.returncode, done.stderr)
    return done.stdout


class InstallationKey:
    """The key with which this installation enters its guests, and its rotation on disk.

    Beside ``PATH`` and ``PATH.pub`` there are, while it is being replaced, ``PATH.new`` and
    ``PATH.new.pub``, and from the first replacement on ``PATH.retired``: the public halves
    of keys that a guest may still accept and shall not, one a line. They are written there
    before any guest hears of them, and kept: a guest that reboots within its VMM is told
    what it was told at its start.

    `prepare`, `switch` and `abandon` block, and are for one caller at a time.
    """

    def __init__(self, path: Path) -> None:
        """Read it, made when missing; what an interrupted rotation left is swept."""
        self.path = path
        self.coming: KeyPair | None = None
        """Its successor, while guests are being told of it."""
        if not path.exists():
            make_private(path.parent)
            make_key(path, COMMENT)
        self.abandon()
        self.pair = self._read()
        try:
            text = self._retired.read_text()
        except FileNotFoundError:
            text = ""
        self.retired = tuple(line for line in text.splitlines() if line)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The public halves that a running guest has to accept now."""
        return tuple(pair.public for pair in (self.pair, self.coming) if pair is not None)

    @property
    def unwanted(self) -> frozenset[str]:
        """The public halves that no guest may accept now."""
        return frozenset(self.retired) - frozenset(self.wanted)

    @property
    def made_at(self) -> float:
        """Unix seconds. Blocks."""
        return self.path.stat().st_mtime

    def prepare(self) -> None:
        """Make the successor, `coming`."""
        self.abandon()
        fresh = make_key(self._new, COMMENT)
        retired = (*self.retired, self.pair.public, fresh.public)
        retired = tuple(dict.fromkeys(retired))[-RETIRED_LIMIT:]
        write_durably(self._retired, "".join(f"{line}\n" for line in retired).encode())
        self.coming, self.retired = fresh, retired

    def switch(self) -> None:
        """From here on `coming` is the key. The rename of the private half decides."""
        assert self.coming is not None
        _sync(self._new)
        self._new.replace(self.path)
        self.pair, self.coming = self.coming, None
        _public(self._new).replace(_public(self.path))
        sync_directory(self.path.parent)

    def abandon(self) -> None:
        """Forget `coming`. Idempotent."""
        self.coming = None
        self._new.unlink(missing_ok=True)
        _public(self._new).unlink(missing_ok=True)

    def _read(self) -> KeyPair:
        """The pair; a daemon killed within `switch` left the public half of its predecessor."""
        public = public_half(self.path)
        try:
            pair = read_key(self.path)
            if pair.public.split()[:2] == public.split()[:2]:
                return pair
        except FileNotFoundError:
            pass
        write_durably(_public(self.path), f"{public}\n".encode(), mode=0o644)
        return read_key(self.path)

    @property
    def _new(self) -> Path:
        return self.path.with_name(f"{self.path.name}.new")

    @property
    def _retired(self) -> Path:
        return self.path.with_name(f"{self.path.name}.retired")


def public_half(path: Path) -> str:
    """The public line of a private key, from the private key itself."""
    return _ssh_keygen(["-y", "-P", "", "-f", str(path)]).strip()


def fingerprint(public: str) -> str:
    """As ssh-keygen shows it: ``SHA256:`` and the digest of the key's blob, unpadded base64."""
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
