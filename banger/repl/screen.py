"""What stands around the line: the prompt, the stages above it, the toolbar below."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.styles import Style

from banger.kernel.errors import UsageError
from banger.model.vm import VmState
from banger.repl.fleet import Fleet
from banger.repl.jobs import Job

STYLE = Style.from_dict(
    {
        "prompt": "bold",
        "default-vm": "ansicyan",
        "status": "ansiyellow",
        "command": "bold",
        "option": "ansiblue",
        "vm": "ansicyan",
        "quoted": "ansigreen",
        "host": "ansimagenta",
        "comment": "ansibrightblack",
        "operator": "ansimagenta bold",
        "wrong": "ansired underline",
        "bottom-toolbar": "noreverse bg:ansibrightblack fg:ansiwhite",
        "bottom-toolbar.trouble": "bg:ansired fg:ansiwhite",
        "bottom-toolbar.wrong": "fg:ansired bold",
    }
)
ORDER = tuple(VmState)
STAGES_SHOWN = 6
"""Of commands at once; more are only counted."""


def prompt(default: str | None, jobs: Iterable[Job], front: Job | None) -> StyleAndTextTuples:
    """The stages of what runs, then the prompt."""
    busy = [job for job in jobs if job.status]
    width = shutil.get_terminal_size().columns - 1
    pieces: StyleAndTextTuples = []
    for job in busy[:STAGES_SHOWN]:
        mark = "" if job is front else f"[{job.number}] "
        pieces.append(("class:status", f"{mark}{job.status}"[:width] + "\n"))
    if len(busy) > STAGES_SHOWN:
        pieces.append(("class:status", f"… and {len(busy) - STAGES_SHOWN} more\n"))
    pieces.append(("class:prompt", "banger"))
    if default is not None:
        pieces.append(("class:default-vm", f" {default}"))
    pieces.append(("class:prompt", "> "))
    return pieces


def toolbar(fleet: Fleet, jobs: int, mistake: UsageError | None) -> StyleAndTextTuples:
    """One line. What is wrong with the line comes first."""
    left = _left(fleet, jobs)
    pieces: StyleAndTextTuples = [("class:bottom-toolbar", f" {left} ")]
    width = shutil.get_terminal_size().columns
    room = width - len(left) - 4
    if mistake is not None:
        pieces.append(("class:bottom-toolbar.wrong", f" {mistake.message}"[: max(room, 20)]))
    elif fleet.trouble:
        *_, last = fleet.trouble.values()
        more = f" (+{len(fleet.trouble) - 1})" if len(fleet.trouble) > 1 else ""
        pieces.append(("class:bottom-toolbar.trouble", f" ! {last}{more} "[: max(room, 20)]))
    return pieces


def _left(fleet: Fleet, jobs: int) -> str:
    if fleet.daemon_pid is None:
        gone = "bangerd has gone, VMs go on" if fleet.met else "bangerd does not run"
        return f"{gone}; the next command starts it"
    states = fleet.states
    parts = [f"{states[state]} {state}" for state in ORDER if state in states]
    parts.append(f"{fleet.memory_mib} MiB in use" if parts else "no VMs")
    if jobs:
        parts.append(f"{jobs} job{'s' * (jobs != 1)}")
    return " · ".join(parts)
