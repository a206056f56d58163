"""What two QEMU machines must have in common for one to begin in the other's state."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path

import msgspec

from banger.kernel.errors import HostNotReady
from banger.vmm.base import MachinePlan
from banger.vmm.qemu_arguments import PORTS_AT_START, Descriptors, qemu_arguments

VERSION_DEADLINE_S = 10

_NOWHERE = Path("/")
_CPUINFO = Path("/proc/cpuinfo")
_cpu_facts = re.compile(r"^(vendor_id|model name|microcode|flags)\s*:.*$", re.MULTILINE)


def likeness(binary: str, plan: MachinePlan, accelerator: str) -> str:
    """QEMU's version, the host's CPU, and the argument line without what may differ.

    Raises `HostNotReady` when QEMU does not say its version.
    """
    status = Path(binary).stat()
    version = _version(binary, status.st_size, status.st_mtime_ns)
    return "\n".join([version, accelerator, _cpu(), *_line(plan, accelerator)])


def _line(plan: MachinePlan, accelerator: str) -> list[str]:
    plain = msgspec.structs.replace(
        plan, id="0" * 32, name="vm", kernel=_NOWHERE, initramfs=_NOWHERE, state=None
    )
    plain = msgspec.structs.replace(
        plain,
        ram=None,
        drives=tuple(msgspec.structs.replace(drive, layers=()) for drive in plan.drives),
        cards=tuple(msgspec.structs.replace(card, mac="") for card in plan.cards),
    )
    fds = Descriptors(
        qmp=0,
        console=0,
        agent=(0,) * PORTS_AT_START,
        kernel=0,
        initramfs=0,
        drives=tuple((0,) if drive.base is None else (0, 0) for drive in plan.drives),
        cards=(0,) * len(plan.cards),
    )
    return qemu_arguments("qemu", plain, fds, accelerator=accelerator)


@functools.cache
def _version(binary: str, size: int, mtime_ns: int) -> str:
    """What the binary says of itself, and which file said it: asked anew after an upgrade."""
    argv = [binary, "-nodefaults", "-version"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=VERSION_DEADLINE_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise HostNotReady(f"{binary} does not tell its version: {error}") from None
    return f"{done.stdout.splitlines()[0]} {size} {mtime_ns}"


@functools.cache
def _cpu() -> str:
    """Of the host: emulated guests have its time stamp counter, others all of it."""
    return "\n".join(found[0] for found in _cpu_facts.finditer(_first_cpu()))


def _first_cpu() -> str:
    return _CPUINFO.read_text(errors="replace").partition("\n\n")[0]
