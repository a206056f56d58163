"""What the making of warm seeds left: half-made seeds and templates that nobody waits for."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from banger.actors.seed_making import LOCK, MAKING
from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.leaked_processes import end
from banger.doctor.looking import looking_check
from banger.host import process
from banger.host.paths import Paths
from banger.model.finding import Finding, Level


def leaked_seeds_check(context: DoctorContext) -> Check:
    """``fix`` ends templates whose maker is gone, and removes what they left."""
    paths = context.paths
    return looking_check("leaks.seeds", lambda check: _look(check, paths), fix=lambda: _fix(paths))


def _look(check: Check, paths: Paths) -> Sequence[Finding]:
    found = [
        Finding(
            check.name,
            Level.WARNING,
            f"{path} is a seed that nobody makes" + (f", with process {pid}" if pid else ""),
            f"rm -r {path}",
            True,
        )
        for path, pid in _abandoned(paths)
    ]
    return found or [check.ok(f"no half-made seed in {paths.seeds}")]


def _fix(paths: Paths) -> str:
    done = []
    for path, pid in _abandoned(paths):
        identity = process.identify(pid) if pid else None
        if identity is not None and end(identity):
            done.append(f"ended process {pid}")
        shutil.rmtree(path, ignore_errors=True)
        done.append(f"removed {path}")
    return ", ".join(done)


def _abandoned(paths: Paths) -> list[tuple[Path, int]]:
    """Each with the pid of its template's VMM, 0 when none runs."""
    found = []
    for path in sorted(paths.seeds.glob(f"{MAKING}*")):
        key, _, machine_id = path.name.removeprefix(MAKING).partition(".")
        if _is_locked(paths.seeds / f"{LOCK}{key}"):
            continue
        pids = process.find_by_argument(_as_uuid(machine_id))
        found.append((path, pids[0] if pids else 0))
    return found


def _as_uuid(machine_id: str) -> str:
    """As it stands on the VMM's argument line; a name of somebody else's is on none."""
    try:
        return str(uuid.UUID(machine_id))
    except ValueError:
        return machine_id


def _is_locked(path: Path) -> bool:
    """Whoever makes the seed holds the lock as long as it lives."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
