"""The system's ssh, told to use banger's key and to accept one host key only."""

from __future__ import annotations

import shutil
from pathlib import Path

from banger.host.paths import Paths, make_private
from banger.kernel.errors import HostNotReady
from banger.model.requests.guests import SshAccess


def ssh_arguments(paths: Paths, name: str, access: SshAccess) -> list[str]:
    """The argument line of ``ssh`` up to and with its destination.

    Key and known host are files of this user's, kept beside each other for tools that
    want to use them too; the user's own configuration and agent are left out of it.
    """
    program = shutil.which("ssh")
    if program is None:
        raise HostNotReady("ssh is not installed", hint="install the Debian package openssh-client")
    directory = paths.state / "ssh"
    make_private(paths.state)
    make_private(directory)
    identity = _write(directory / "id_ed25519", access.identity)
    known = f"{name} {access.host_public_key}\n".encode()
    known_hosts = _write(_known_hosts(paths, name), known)
    options = {
        "IdentityFile": identity,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": name,
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "PreferredAuthentications": "publickey",
        "GSSAPIAuthentication": "no",
        # First choice, not only one. The standard one resists computers yet to be built, on a
        # bridge within one host, for a tenth of an emulated guest's time to log in.
        "KexAlgorithms": "^curve25519-sha256",
        "LogLevel": "ERROR",
    }
    argv = [program, "-F", "none"]
    for key, value in options.items():
        argv += ["-o", f"{key}={value}"]
    return [*argv, f"{access.user}@{access.address}"]


def forget_host(paths: Paths, name: str) -> None:
    """Drop what was pinned for a VM that is gone."""
    _known_hosts(paths, name).unlink(missing_ok=True)


def _known_hosts(paths: Paths, name: str) -> Path:
    return paths.state / "ssh" / f"known_hosts-{name}"


def _write(path: Path, data: bytes) -> Path:
    if not path.exists() or path.read_bytes() != data:
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600, exist_ok=False)
        temporary.write_bytes(data)
        temporary.replace(path)
    return path
