"""The shape of a VM on the argument line: CPUs, memory, disk."""

from __future__ import annotations

import msgspec

from banger.commands.declare import Kind, Option
from banger.kernel.errors import UsageError
from banger.model.sizes import parse_size, show_size
from banger.model.vm import (
    DISK_BYTES_MAX,
    DISK_BYTES_MIN,
    MEMORY_MIB_MAX,
    MEMORY_MIB_MIN,
    VCPUS_MAX,
)

SHAPE = (
    Option("vcpus", ("--vcpus",), "Virtual CPUs.", kind=Kind.NUMBER, metavar="N"),
    Option("memory_mib", ("--memory",), "Memory in MiB.", kind=Kind.NUMBER, metavar="MIB"),
    Option("disk", ("--disk",), "Size of the root disk, like 8G.", metavar="SIZE"),
)


class Shape(msgspec.Struct, frozen=True):
    """What was given of it."""

    vcpus: int | None = None
    memory_mib: int | None = None
    disk_bytes: int | None = None


def check_shape(vcpus: int | None, memory_mib: int | None, disk: str | None) -> Shape:
    """Raises `UsageError` naming the flag."""
    return Shape(
        _within("--vcpus", vcpus, 1, VCPUS_MAX),
        _within("--memory", memory_mib, MEMORY_MIB_MIN, MEMORY_MIB_MAX),
        _disk(disk),
    )


def _within(flag: str, value: int | None, least: int, most: int) -> int | None:
    if value is not None and not least <= value <= most:
        raise UsageError(f"{flag} {value} is not within {least} and {most}")
    return value


def _disk(text: str | None) -> int | None:
    if text is None:
        return None
    size = parse_size(text)
    if not DISK_BYTES_MIN <= size <= DISK_BYTES_MAX:
        raise UsageError(
            f"--disk {text} is not within {show_size(DISK_BYTES_MIN)} and "
            f"{show_size(DISK_BYTES_MAX)}"
        )
    return size
