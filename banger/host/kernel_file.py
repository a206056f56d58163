"""Kernels and module archives that somebody brings along: are they what they should be?

A kernel is an uncompressed ELF file or a bzImage (Documentation/arch/x86/boot.rst of the
Linux source); the modules come in an uncompressed cpio archive, "newc".
"""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path

from banger.host.ext4 import open_image
from banger.kernel.errors import UsageError
from banger.model.sizes import MIB, show_size

SIZE_MAX = 1024 * MIB
VERSION_MAX = 64

_HEADER_MAGIC = slice(0x202, 0x206)
_VERSION_POINTER = slice(0x20E, 0x210)
_BANNER = re.compile(rb"Linux version ([0-9][0-9A-Za-z._+~-]{1,63})")
_VERSION = re.compile(rb"[0-9][0-9A-Za-z._+~-]{1,63}")


def kernel_version(path: Path) -> str:
    """The release a kernel calls itself, or "unknown". Raises `UsageError` for what is none."""
    file = open_image(path)
    try:
        _check_size(file, path)
        with mmap.mmap(file, 0, prot=mmap.PROT_READ) as data:
            if data[:4] == b"\x7fELF":
                found = _BANNER.search(data)
                return found[1].decode() if found else "unknown"
            if data[_HEADER_MAGIC] == b"HdrS":
                at = int.from_bytes(data[_VERSION_POINTER], "little") + 0x200
                match = _VERSION.match(data[at : at + VERSION_MAX])
                return match[0].decode() if match else "unknown"
    finally:
        os.close(file)
    raise UsageError(
        f"{path} is no Linux kernel", hint="an ELF kernel (vmlinux) or a bzImage is wanted"
    )


def check_modules(path: Path) -> None:
    """Raise `UsageError` for what is no uncompressed cpio archive."""
    file = open_image(path)
    try:
        _check_size(file, path)
        if os.pread(file, 6, 0) != b"070701":
            raise UsageError(f"{path} is no uncompressed cpio archive of the format newc")
    finally:
        os.close(file)


def _check_size(file: int, path: Path) -> None:
    size = os.fstat(file).st_size
    if not 0 < size <= SIZE_MAX:
        raise UsageError(f"{path} has {show_size(size)}; 1 B to {show_size(SIZE_MAX)} are expected")
