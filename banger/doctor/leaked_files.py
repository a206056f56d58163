"""Directories that belong to no VM and no image, and what is mounted or looped on ours."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.known import Known, coming_and_going, seen_between
from banger.doctor.looking import in_thread, looking_check
from banger.doctor.processes import scan
from banger.host.paths import Paths
from banger.kernel.store import RECORD
from banger.model.finding import Finding, Level

QUIET_S = 60.0
"""A directory of an image that nothing has changed for so long is not being worked on."""

DELETING = ".deleting-"
BUILDING = ".building-"
MOUNTS = Path("/proc/self/mountinfo")
BLOCK_DEVICES = Path("/sys/block")

_octal = re.compile(r"\\([0-7]{3})")


def leaked_runtime_check(context: DoctorContext) -> Check:
    """``fix`` removes socket directories of VMs that are no more and of no process."""
    return looking_check(
        "leaks.sockets", lambda check: _look_at_sockets(check, context), fix=lambda: _fix(context)
    )


def _runtime(context: DoctorContext) -> tuple[Known, tuple[list[Path], set[str]]]:
    paths = context.paths

    def look() -> tuple[list[Path], set[str]]:
        directories = _entries(paths.vm_runtime)
        return directories, {short for seen in scan(paths) for short in seen.runtimes}

    return seen_between(context.stores, look)


def _look_at_sockets(check: Check, context: DoctorContext) -> Sequence[Finding]:
    known, (directories, in_use) = _runtime(context)
    found = []
    for path in directories:
        remedy = f"rm -r {path}"
        owner = known.name_of(path.name)
        if owner is None:
            summary = f"{path} belongs to no VM"
            if path.name in in_use:
                summary += "; a process listens there"
            found.append(Finding(check.name, Level.WARNING, summary, remedy, known.complete))
        elif known.is_idle(path.name):
            summary = f"{path} belongs to VM {owner!r}, which does not run"
            found.append(Finding(check.name, Level.WARNING, summary, remedy))
    return found or [check.ok(f"{len(directories)} directories of sockets, each of a running VM")]


def _fix(context: DoctorContext) -> str:
    known, (directories, in_use) = _runtime(context)
    done = []
    for path in directories:
        if known.complete and known.name_of(path.name) is None and path.name not in in_use:
            _remove(path)
            done.append(f"removed {path}")
    return ", ".join(done)


def leaked_directories_check(context: DoctorContext) -> Check:
    """``fix`` finishes deletions and removes builds that nobody works on any more."""
    images, store = context.paths.images, context.vms

    async def stale() -> list[Path]:
        begun = await in_thread(lambda: _hidden(store.root, DELETING))
        going = await coming_and_going(context.fleet)
        left = [path for path in begun if path.name.removeprefix(DELETING) not in going]
        return await in_thread(lambda: [*filter(Path.exists, left), *_abandoned(context.paths)])

    async def without_record() -> list[Path]:
        known, _ = await in_thread(lambda: seen_between((store,), lambda: None))
        coming = await coming_and_going(context.fleet)
        directories = [store.directory(name) for name in sorted(known.quarantined - coming)]
        return await in_thread(lambda: [path for path in directories if _lacks_record(path)])

    async def run() -> Sequence[Finding]:
        found = [
            check.warning(f"{path} is what an unfinished deletion or build left", f"rm -r {path}")
            for path in await stale()
        ]
        found += [
            Finding(
                check.name,
                Level.WARNING,
                f"{path} has no {RECORD}, so it belongs to no VM",
                f"look what is in it, then rm -r {path}",
            )
            for path in await without_record()
        ]
        return found or [check.ok(f"nothing unfinished in {store.root} and {images}")]

    async def fix() -> str:
        done = []
        for path in await stale():
            await in_thread(functools.partial(_remove, path))
            done.append(f"removed {path}")
        return ", ".join(done)

    check = Check("leaks.directories", run, fix=fix)
    return check


def _lacks_record(path: Path) -> bool:
    return path.exists() and not (path / RECORD).exists()


def _abandoned(paths: Paths) -> list[Path]:
    """Leftovers among the images that no process names and nothing has changed lately."""
    named = {build for seen in scan(paths) for build in seen.builds}
    left = _hidden(paths.images, BUILDING) + _hidden(paths.images, DELETING)
    return [path for path in left if str(path) not in named and _is_quiet(path)]


def _is_quiet(directory: Path) -> bool:
    changed = [0.0]
    for path in (directory, *_entries(directory)):
        with contextlib.suppress(FileNotFoundError):
            changed.append(path.lstat().st_mtime)
    return time.time() - max(changed) > QUIET_S


def _remove(path: Path) -> None:
    """Remove the directory. Out of the way first: somebody may want to use its name."""
    doomed = path.with_name(f".stale{path.name}" if path.name[0] == "." else f".stale.{path.name}")
    try:
        path.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed)


def _hidden(root: Path, prefix: str) -> list[Path]:
    return [path for path in _entries(root) if path.name.startswith((prefix, f".stale{prefix}"))]


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def leaked_mounts_check(context: DoctorContext) -> Check:
    """banger mounts nothing and uses no loop device, but recipes and people do."""
    return looking_check("leaks.mounts", lambda check: _look_at_mounts(check, context.paths))


def _look_at_mounts(check: Check, paths: Paths) -> Sequence[Finding]:
    roots = tuple(f"{path.resolve()}/" for path in (paths.vms, paths.images, paths.vm_runtime))
    building = {build for seen in scan(paths) for build in seen.builds}
    found = [
        check.warning(f"{place} is mounted inside of banger's directories", f"umount {place}")
        for place in _mount_points()
        if place.startswith(roots) and not place.startswith(tuple(building))
    ]
    found += [
        check.warning(f"{device} is set up on {file}", f"losetup -d {device}")
        for device, file in _loop_devices()
        if file.startswith(roots) and not file.startswith(tuple(building))
    ]
    return found or [check.ok("no mount and no loop device inside of banger's directories")]


def _mount_points() -> Iterator[str]:
    for line in MOUNTS.read_text(errors="surrogateescape").splitlines():
        # The fifth field, with spaces and the like in octal (proc(5)).
        yield _octal.sub(lambda match: chr(int(match[1], 8)), line.split()[4])


def _loop_devices() -> Iterator[tuple[str, str]]:
    for backing in sorted(BLOCK_DEVICES.glob("loop*/loop/backing_file")):
        with contextlib.suppress(OSError):
            yield f"/dev/{backing.parts[-3]}", backing.read_text().strip()
