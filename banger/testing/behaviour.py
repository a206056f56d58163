"""What conformance looks at, one part of a VM's life after the other."""

from __future__ import annotations

from typing import Any

from banger.capabilities import guard
from banger.capabilities.check import Check
from banger.capabilities.host import Vm
from banger.kernel.errors import BangerError
from banger.model.finding import Finding, Level
from banger.model.vm import Verb
from banger.testing.daemon import FakeDaemon
from banger.testing.host import files_below
from banger.testing.life import Life
from banger.testing.trial import VM, Trial

BRING_UP = ("prepare", "contribute", "started")
"""The hooks after which a start is made to fail."""


async def whole_life(trial: Trial) -> None:
    """Created, changed, stopped, started, crashed, deleted: in the end nothing is held."""
    async with trial.daemon("in the life of a VM") as daemon:
        await trial.make_another(daemon)
        before = _rules(daemon)
        box = await trial.make_vm(daemon)
        for fields in trial.changes(box):
            await _change(trial, daemon, box, fields)
        await box.stop()
        trial.compare("'stopped' does not give back what it should", before, _rules(daemon))
        for fields in trial.changes(box):
            await _change(trial, daemon, box, fields)
        trial.compare("'changed' makes rules for a VM that is stopped", before, _rules(daemon))
        await box.start()
        await box.crash()
        trial.compare("'stopped' gives back too little after a crash", before, _rules(daemon))
        await box.start()
        vm = box.vm
        await box.delete()
        trial.compare("a deleted VM leaves something", before, _rules(daemon))
        for text in _mentions(daemon, vm):
            trial.fault(f"'deleted' does not forget the VM: {text}")


async def _change(trial: Trial, daemon: FakeDaemon, box: Life, fields: dict[str, Any]) -> bool:
    """True when it was changed. What `admit` or `changed` refuses must have changed nothing."""
    if not await box.admits(fields):
        return False
    before = _state(daemon)
    try:
        await box.change(**fields)
    except BangerError:
        if daemon.name not in daemon.registry.active:
            raise
        trial.compare("'changed' refuses, but changes something", before, _state(daemon))
        return False
    return True


def _state(daemon: FakeDaemon) -> dict[str, object]:
    return daemon.host.state()


def _rules(daemon: FakeDaemon) -> dict[str, object]:
    return {k: held for k, held in _state(daemon).items() if k.startswith("firewall")}


def _mentions(daemon: FakeDaemon, vm: Vm) -> list[str]:
    """Files of the capability that name the VM."""
    found = []
    for file, content in _state(daemon).items():
        if file.startswith("file"):
            text = file.encode() + (content if isinstance(content, bytes) else b"")
            if vm.name.encode() in text or vm.id.encode() in text:
                found.append(f"{file} names it still")
    return found


async def purity(trial: Trial) -> None:
    """`contribute` and `admit` leave everything as it is."""
    async with trial.daemon("while hooks are called that may change nothing") as daemon:
        box = await trial.make_vm(daemon)

        def snapshot() -> dict[str, object]:
            host = daemon.host
            return {
                **host.state(),
                **files_below(box.vm.directory),
                "events published": len(host.events),
                "programs run": len(host.programs.ran),
                "commands run in the guest": len(box.guest.ran),
                "attributes of the capability": repr(vars(daemon.capability)),
            }

        before = snapshot()
        first, second = box.contribution(), box.contribution()
        trial.compare("'contribute' must be pure", before, snapshot())
        if first != second:
            trial.fault("'contribute' must be pure: called twice, it says something else")
        before = {**daemon.host.state(), **files_below(box.vm.directory)}
        await box.again("admit")
        now = {**daemon.host.state(), **files_below(box.vm.directory)}
        trial.compare("'admit' may only refuse, not make anything", before, now)
        defaults = guard.call(daemon.capability.defaults)
        if type(defaults) is not trial.capability.options:
            wanted = trial.capability.options.__name__
            trial.fault(f"'defaults' returns {defaults!r}, which is no {wanted}")


async def undo(trial: Trial) -> None:
    """An operation that fails after a hook leaves the host as it was."""
    for hook in BRING_UP:
        async with trial.daemon(f"when a start fails after {hook!r}") as daemon:
            box = await trial.make_vm(daemon)
            await box.delete()
            before = _state(daemon)
            await trial.fails(daemon.create(VM, trial.options, fail_after=hook))
            now = _state(daemon)
            trial.compare(f"a create that fails after {hook!r} is not undone", before, now)
            box = await trial.make_vm(daemon, start=False)
            before = _state(daemon)
            await trial.fails(box.start(fail_after=hook))
            now = _state(daemon)
            trial.compare(f"a start that fails after {hook!r} is not undone", before, now)
            await box.start()
    async with trial.daemon("when 'vm set' fails after 'changed'") as daemon:
        box = await trial.make_vm(daemon)
        for state in ("running", "stopped"):
            for fields in list(trial.changes(box)):
                if await box.admits(fields):
                    before = _state(daemon)
                    await trial.fails(box.change(fail_after="changed", **fields), may_refuse=True)
                    what = f"'changed' of {', '.join(fields)}, VM {state}, is not undone"
                    trial.compare(what, before, _state(daemon))
            if state == "running":
                await box.stop()


async def repetition(trial: Trial) -> None:
    """Hooks that come twice, or without those that usually come before."""
    async with trial.daemon("when hooks are repeated") as daemon:
        box = await trial.make_vm(daemon)
        for hook in ("adopted", "stopping"):
            before = _state(daemon)
            await box.again(hook)
            if hook == "adopted":
                trial.compare("'adopted' called again changes something", before, _state(daemon))
        await box.stop()
        before = _state(daemon)
        await box.again("stopped")
        trial.compare("'stopped' called twice changes something", before, _state(daemon))
        await box.again("deleted")
        await box.delete()
    async with trial.daemon("for a VM that was never started") as daemon:
        box = await trial.make_vm(daemon, start=False)
        before = _rules(daemon)
        await box.again("stopped")
        trial.compare("'stopped' without 'prepare' changes something", before, _rules(daemon))
        await box.delete()


async def restart(trial: Trial) -> None:
    """A daemon that is started anew has again what `started` and `changed` made."""
    async with trial.daemon("when the daemon is started anew") as daemon:
        box = await trial.make_vm(daemon)
        before = _state(daemon)
        await daemon.restart()
        what = "'adopted' does not restore what the VM had"
        trial.compare(what, before, _state(daemon))
        for fields in trial.changes(box):
            if await _change(trial, daemon, box, fields):
                before = _state(daemon)
                await daemon.restart()
                trial.compare(f"{what} since {', '.join(fields)} changed", before, _state(daemon))
        await box.stop()
        await daemon.restart()
        await box.delete()


async def checks(trial: Trial) -> None:
    """Checks say something, with what to do about it."""
    async with trial.daemon("when checks are run") as daemon:
        seen: set[str] = set()
        for check in guard.call(daemon.capability.checks):
            if not isinstance(check, Check):
                trial.fault(f"'checks' returns {check!r}, which is no Check")
                continue
            if check.name in seen:
                trial.fault(f"two checks are called {check.name!r}")
            seen.add(check.name)
            for verb in check.before:
                if not isinstance(verb, Verb):
                    trial.fault(f"check {check.name!r}: {verb!r} in 'before' is no Verb")
            before = _state(daemon)
            findings: Any = await guard.call_async(check.run)
            trial.compare(f"check {check.name!r} changes something", before, _state(daemon))
            if not findings:
                trial.fault(f"check {check.name!r} finds nothing: one line is the least")
            for finding in findings or ():
                _look_at(trial, check, finding)


def _look_at(trial: Trial, check: Check, finding: object) -> None:
    if not isinstance(finding, Finding):
        trial.fault(f"check {check.name!r} returns {finding!r}, which is no Finding")
    elif finding.check != check.name:
        trial.fault(f"check {check.name!r} returns a finding of {finding.check!r}")
    elif finding.level is not Level.OK and not finding.remedy:
        trial.fault(f"check {check.name!r} says nothing to do about {finding.summary!r}")


async def services(trial: Trial) -> None:
    """Services are listed once and made anew each time."""
    async with trial.daemon("when services are asked for") as daemon:
        seen: set[str] = set()
        for service in guard.call(daemon.capability.services):
            if service.name in seen:
                trial.fault(f"two services are called {service.name!r}")
            seen.add(service.name)
            if guard.call(service.make) is guard.call(service.make):
                trial.fault(f"service {service.name!r}: 'make' must build a new actor each time")


PARTS = (whole_life, purity, undo, repetition, restart, checks, services)
