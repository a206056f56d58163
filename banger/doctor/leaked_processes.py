"""VMMs and image builders that belong to nothing."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Sequence

from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.known import Known, seen_between
from banger.doctor.looking import looking_check
from banger.doctor.processes import Seen, is_descendant, scan
from banger.host import process
from banger.model.finding import Finding, Level
from banger.model.process import ProcessIdentity

END_DEADLINE_S = 3.0


def leaked_processes_check(context: DoctorContext) -> Check:
    """``fix`` ends what is beyond doubt a VMM of this installation that no record knows."""
    return looking_check(
        "leaks.processes", lambda check: _look(check, context), fix=lambda: _fix(context)
    )


def _look(check: Check, context: DoctorContext) -> Sequence[Finding]:
    known, seen = seen_between(context.stores, lambda: scan(context.paths))
    found = []
    for one in seen:
        problem = _problem(one, known)
        if problem:
            pid = one.identity.pid
            summary = f"process {pid} {problem}: {one.command}"
            fixable = _is_lost_vmm(one, known)
            found.append(Finding(check.name, Level.WARNING, summary, f"kill {pid}", fixable))
    vmms = sum(one.machine_id in known.names for one in seen)
    return found or [check.ok(f"{vmms} VMMs, each of a VM; {len(seen)} processes in all")]


def _fix(context: DoctorContext) -> str:
    known, seen = seen_between(context.stores, lambda: scan(context.paths))
    ended = [
        f"ended process {one.identity.pid}"
        for one in seen
        if _is_lost_vmm(one, known) and end(one.identity)
    ]
    return ", ".join(ended)


def _is_lost_vmm(one: Seen, known: Known) -> bool:
    """Whether it is surely a VMM that was started for a VM of ours that is no more."""
    if one.machine_id is None or one.machine_id in known.names or not known.complete:
        return False
    holds_only_strangers = bool(one.vms) and not one.vms & set(known.names.values())
    return one.machine_id[:8] in one.runtimes or holds_only_strangers


def _problem(one: Seen, known: Known) -> str:
    """Why it belongs to nothing; "" when it does."""
    if one.builds and not is_descendant(one.identity.pid, os.getpid()):
        return "builds an image that nobody waits for"
    names = set(known.names.values()) | known.quarantined
    if one.machine_id in known.names:
        if one.machine_id in known.idle:
            return f"is a VMM of VM {known.names[one.machine_id]!r}, which does not run"
        return ""
    if _is_lost_vmm(one, known):
        return "is the VMM of a VM that is no more"
    if one.vms & names or any(known.name_of(short) for short in one.runtimes):
        return ""
    if one.vms or one.runtimes:
        return "holds files or sockets of a VM that is no more"
    return ""


def end(identity: ProcessIdentity) -> bool:
    """Kill exactly this process; False when it was gone, or stays. Blocks for some seconds."""
    pidfd = process.open_process(identity)
    if pidfd is None:
        return False
    try:
        process.send_signal(pidfd, signal.SIGKILL)
        ready, _, _ = select.select([pidfd], [], [], END_DEADLINE_S)
        process.reap(pidfd)
        return bool(ready)
    finally:
        os.close(pidfd)
