"""The virtual machine monitor: is it there, can it do what banger asks of it?"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.looking import looking_check
from banger.model.finding import Finding
from banger.model.vm import Verb

PACKAGE = "qemu-system-x86"
INSTALL = f"install the Debian package {PACKAGE}"
OLDEST = (7, 0)
"""Of QEMU. Debian 12 has 7.2, with which banger is tested."""
DEADLINE_S = 5.0


class Abilities(msgspec.Struct, frozen=True):
    """What a QEMU program says about itself. ``problem``: why it could not be asked."""

    version: tuple[int, ...] = ()
    microvm: bool = False
    sandbox: bool = False
    problem: str = ""


def vmm_check(context: DoctorContext) -> Check:
    """Before each start; looks for the program, and runs nothing."""
    binary = _qemu(context)
    return looking_check(
        "vmm", lambda check: _look(check, binary, context), before=frozenset({Verb.START})
    )


def vmm_abilities_check(context: DoctorContext) -> Check:
    """What the program can do; asked once for each program."""
    binary = _qemu(context)
    return looking_check("vmm-abilities", lambda check: _look_closer(check, binary))


def _qemu(context: DoctorContext) -> str | None:
    """The QEMU program of the settings; None when another driver runs the VMs."""
    driver = context.settings.text("vm.driver")
    return context.settings.text("qemu.binary") if driver == "qemu" else None


def _look(check: Check, binary: str | None, context: DoctorContext) -> Sequence[Finding]:
    if binary is None:
        return [check.ok(f"VMs are run by the driver {context.driver.name!r}")]
    path = shutil.which(binary)
    if path is None:
        return [check.failed(f"{binary!r} is not installed", INSTALL)]
    return [check.ok(f"{binary} is {path}")]


def _look_closer(check: Check, binary: str | None) -> Sequence[Finding]:
    path = shutil.which(binary) if binary else None
    if path is None:
        return [check.ok("no QEMU to look at")]
    status = Path(path).stat()
    found = abilities(path, status.st_mtime_ns, status.st_size)
    if found.problem:
        return [check.failed(f"{path} is no QEMU that works: {found.problem}", INSTALL)]
    version = ".".join(map(str, found.version))
    if found.version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return [check.failed(f"QEMU {version} is older than {oldest}", INSTALL)]
    if not found.microvm:
        return [check.failed(f"QEMU {version} has no machine 'microvm'", INSTALL)]
    if not found.sandbox:
        return [
            check.failed(
                f"QEMU {version} was built without the sandbox (seccomp) that banger asks for",
                INSTALL,
            )
        ]
    return [check.ok(f"QEMU {version}, with the machine 'microvm' and the sandbox")]


@functools.lru_cache(maxsize=8)
def abilities(path: str, mtime_ns: int, size: int) -> Abilities:
    """Ask the program. ``mtime_ns`` and ``size`` tell another program of the same path.

    Blocks for some 20 ms, at most twice `DEADLINE_S`.
    """
    try:
        version = _run(path, "--version")
        machines = _run(path, "-machine", "help")
        sandboxed = _run(path, "-sandbox", "on", "-machine", "help")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Abilities(problem=str(error))
    found = re.match(r"QEMU emulator version ([\d.]+)", version.stdout)
    if found is None:
        said = (version.stderr or version.stdout).strip().splitlines()[:1]
        return Abilities(problem=said[0] if said else f"exit code {version.returncode}, no word")
    return Abilities(
        version=tuple(int(part) for part in found[1].split(".") if part),
        microvm=re.search(r"^microvm\b", machines.stdout, re.MULTILINE) is not None,
        sandbox=sandboxed.returncode == 0,
    )


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=DEADLINE_S,
        check=False,
    )
