"""What a bench sees of this host's side: processes, their memory and time, files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from banger.commands.bench_report import since
from banger.kernel.errors import BangerError, CommandFailed

_KB = 1024
"""What /proc calls kB."""


def banger(*words: str) -> list[str]:
    """The argument line of a command of this banger as a process of its own."""
    beside = shutil.which("banger", path=str(Path(sys.executable).parent))
    program = [beside] if beside is not None else [sys.executable, "-m", "banger.cli.main"]
    return [*program, *words]


def run_process(argv: list[str]) -> None:
    """Raises `CommandFailed`."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(argv, done.returncode, done.stderr.decode(errors="replace"))


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    work()
    return since(begun)


def cpu_s(pid: int) -> float:
    """User and system time used so far: fields 14 and 15 of /proc/PID/stat (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, kind: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * _KB / 1e6
    raise BangerError(f"/proc/{pid}/smaps_rollup has no {kind}")


def allocated_kib(directory: Path) -> float:
    """Of all files in it."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*")) / 1024
