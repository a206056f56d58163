"""Gets the root tarball: ``python fetch.py SOURCE TARGET [SHA256]``.

A program of its own, without banger: the build runs it with any Python. SOURCE is a path, or an
``http(s)`` URL, which needs the checksum. TARGET is complete and checked, or the exit code 1
and a line on stderr says why not.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import sys
import urllib.request
from pathlib import Path
from typing import IO

LIMIT_BYTES = 2 << 30
CHUNK_BYTES = 1 << 20
SILENCE_S = 60.0
"""A server that says nothing for so long has failed."""


class Refused(Exception):
    """The tarball can't be had, or is not the right one."""


def is_url(source: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def fetch(source: str, target: Path, sha256: str, *, limit_bytes: int = LIMIT_BYTES) -> str:
    """The checksum of what was copied to ``target``. Raises `Refused` and OSError."""
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise Refused(f"rootfs_sha256 {sha256!r} is no SHA-256: 64 hexadecimal digits")
    if not is_url(source):
        if not Path(source).is_file():
            raise Refused(f"rootfs_tarball {source!r} is no file")
        with Path(source).open("rb") as file:
            found = _copy(file, target, limit_bytes, None)
    elif not source.startswith(("https://", "http://")):
        raise Refused(f"rootfs_url {source!r}: only https and http are known")
    elif not sha256:
        raise Refused(
            f"no checksum for {source}: set capabilities.void.rootfs_sha256 to what the "
            "project's signed list of checksums says"
        )
    else:
        found = _download(source, target, limit_bytes)
    if sha256 and found != sha256:
        raise Refused(f"{source} has the SHA-256 {found}, not {sha256}")
    return found


def _download(url: str, target: Path, limit_bytes: int) -> str:
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_S) as response:  # noqa: S310 - checked
            length = response.headers.get("Content-Length")
            expected = int(length) if length and length.isdecimal() else None
            return _copy(response, target, limit_bytes, expected)
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"can't get {url}: {error}") from error


def _copy(source: IO[bytes], target: Path, limit_bytes: int, expected: int | None) -> str:
    digest = hashlib.sha256()
    size = 0
    with target.open("xb") as file:
        while chunk := source.read(CHUNK_BYTES):
            size += len(chunk)
            if size > limit_bytes:
                raise Refused(f"the root tarball is larger than {limit_bytes} bytes")
            digest.update(chunk)
            file.write(chunk)
    if expected is not None and size != expected:
        raise Refused(f"the download was cut off after {size} of {expected} bytes")
    return digest.hexdigest()


def main() -> int:
    source, target, *sha256 = sys.argv[1:]
    try:
        found = fetch(source, Path(target), "".join(sha256).lower())
    except (Refused, OSError) as error:
        print(f"fetch: {error}", file=sys.stderr)  # noqa: T201 - a program
        return 1
    print(found)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
