"""What a plan would do, against what there is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from banger.batch.check import late_names, understand, with_stand_ins
from banger.batch.plan import Deferring, Expectation, Fork, Order, Pausing, Plan, Step, Value
from banger.batch.rehearsal import rehearse
from banger.batch.report import Change, Happening, Report
from banger.cli.plugins import Plugins
from banger.commands.context import Context
from banger.kernel.errors import BangerError, Conflict, NotFound
from banger.kernel.message import Request
from banger.model.image import ImageView
from banger.model.requests.exec import Exec
from banger.model.requests.forks import ForkVm
from banger.model.requests.images import ChooseDefaultImage, DeleteImage, ListImages, RenameImage
from banger.model.requests.plugins import RunPluginCommand
from banger.model.requests.vms import (
    CreateVm,
    DeleteVm,
    ListVms,
    PauseVm,
    RestartVm,
    ResumeVm,
    SetVm,
    StartVm,
    StopVm,
)
from banger.model.vm import Verb, VmState, VmView, guard

WIDTH = 44
"""Of the column that says what is done."""
_INDENT = "  "
_VERBS: Mapping[type, Verb] = {
    StartVm: Verb.START,
    StopVm: Verb.STOP,
    RestartVm: Verb.RESTART,
    PauseVm: Verb.PAUSE,
    ResumeVm: Verb.RESUME,
    SetVm: Verb.SET,
    Exec: Verb.EXEC,
    DeleteVm: Verb.DELETE,
}
_STATES_AFTER = {
    Verb.START: VmState.RUNNING,
    Verb.STOP: VmState.STOPPED,
    Verb.RESTART: VmState.RUNNING,
    Verb.PAUSE: VmState.PAUSED,
    Verb.RESUME: VmState.RUNNING,
}


def dry_run(plan: Plan, context: Context, report: Report) -> int:
    """Print the plan; the exit code of the first command that would fail, else 0."""
    return _DryRun(context, report).show(plan)


class _DryRun:
    def __init__(self, context: Context, report: Report) -> None:
        self._context = context
        self._report = report
        self._plugins = Plugins(context.session.interface)
        self._vms = {view.name: view for view in context.call(ListVms())}
        self._images = {view.name: view for view in context.call(ListImages())}
        self._deferred: list[Order] = []
        self._code = 0

    def show(self, plan: Plan) -> int:
        for step in plan:
            self._step(step, (), "")
        if self._deferred:
            self._report.line("at the end, whatever happens:")
            for order in reversed(self._deferred):
                self._order(order, None, (), _INDENT, deferred=True)
        return self._code

    def _step(self, step: Step, branch: tuple[int, ...], indent: str) -> None:
        match step:
            case Fork():
                going = ", each to its end" if step.keep_going else ""
                self._report.line(f"{indent}at once{going}:")
                for number, part in enumerate(step.branches, 1):
                    for each in part:
                        self._step(each, (*branch, number), f"{indent}{_INDENT}{number}: ")
            case Pausing(seconds=seconds):
                self._report.line(f"{indent}wait {seconds.show()} s")
            case Deferring(order):
                self._deferred.append(order)
            case Expectation(order, wanted):
                self._order(order, wanted.code, branch, indent)
            case _:
                self._order(step.order, None, branch, indent)

    def _order(
        self,
        order: Order,
        code: Value | None,
        branch: tuple[int, ...],
        indent: str,
        *,
        deferred: bool = False,
    ) -> None:
        """``code`` is the one that is expected of it."""
        changes = [_without_stand_ins(change, order) for change in self._changes(order)]
        expected = code is not None and code.known != "0"
        if expected:
            changes = [msgspec.structs.replace(change, problem="", code=0) for change in changes]
        at, shown = order.at, order.show()
        for number, change in enumerate(changes):
            said = f"{indent}{change.show()}".ljust(WIDTH)
            self._report.line(f"{said}  {at}: {shown}" if number == 0 else said.rstrip())
            if change.problem:
                self._report.line(f"{indent}! {change.problem}")
            self._code = self._code or change.code
        self._report.write(
            Happening(
                "planned",
                at.file,
                at.line,
                at.column,
                shown,
                deferred=deferred,
                branch=list(branch),
                changes=changes,
            )
        )

    # --- what a command would do ---

    def _changes(self, order: Order) -> list[Change]:
        try:
            invocation = understand(order, with_stand_ins(order), self._plugins)
            requests = rehearse(invocation, self._context.session, self._answer)
        except BangerError as error:
            return [Change("look", "", "", problem=str(error), code=error.exit_code)]
        changes = [change for request in requests for change in self._effects(request)]
        if changes:
            return changes
        verb = "change" if invocation.command.mutates else "look"
        return [Change(verb, "", "", how=invocation.command.summary.rstrip("."))]

    def _answer(self, request: Request[Any]) -> Any:
        return list((self._images if isinstance(request, ListImages) else self._vms).values())

    def _effects(self, request: Request[Any]) -> Iterator[Change]:
        """What it does, with what would be wrong about it; then it counts as done."""
        try:
            yield self._effect(request)
        except BangerError as error:
            name = getattr(request, "name", "")
            change = _named(request, name)
            yield msgspec.structs.replace(change, problem=error.message, code=error.exit_code)

    def _effect(self, request: Request[Any]) -> Change:
        change = _named(request, getattr(request, "name", None) or "")
        match request:
            case CreateVm(name=name):
                if name in self._vms:
                    raise Conflict(f"VM {name!r} exists already")
                if request.image is not None and request.image not in self._images:
                    raise NotFound(f"there is no image {request.image!r}")
                if name is not None:
                    self._vms[name] = _made(request, name)
            case ForkVm(name=name, new=new):
                self._act(name, Verb.SNAPSHOT)
                for fork in new:
                    if fork in self._vms:
                        raise Conflict(f"VM {fork!r} exists already")
                    self._vms[fork] = msgspec.structs.replace(self._vms[name], name=fork)
            case RenameImage(name=name, new=new):
                self._images[new] = msgspec.structs.replace(self._image(name), name=new)
                del self._images[name]
            case DeleteImage(name=name):
                self._image(name)
                del self._images[name]
            case _ if (verb := _VERBS.get(type(request))) is not None:
                self._act(change.name, verb)
        return change

    def _act(self, name: str, verb: Verb) -> None:
        view = self._vms.get(name)
        if view is None:
            raise NotFound(f"there is no VM {name!r}")
        guard(name, view.state, verb)
        if verb is Verb.DELETE:
            del self._vms[name]
        else:
            after = _STATES_AFTER.get(verb, view.state)
            self._vms[name] = msgspec.structs.replace(view, state=after)

    def _image(self, name: str) -> ImageView:
        if name not in self._images:
            raise NotFound(f"there is no image {name!r}")
        return self._images[name]


def _named(request: Request[Any], name: str) -> Change:
    match request:
        case CreateVm():
            return Change(
                "create", "VM", name or "of a new name", "" if request.start else "stopped"
            )
        case ForkVm(new=new):
            return Change("create", "VM", ", ".join(new), f"fork of {name}")
        case DeleteVm():
            return Change("delete", "VM", name)
        case Exec():
            return Change("use", "VM", name, "exec")
        case DeleteImage():
            return Change("delete", "image", name)
        case RenameImage():
            return Change("change", "image", name, f"renamed {request.new}")
        case ChooseDefaultImage():
            return Change("change", "image", name, "default")
        case RunPluginCommand(path=path):
            return Change("use", "plugin's command", " ".join(path))
        case _ if (verb := _VERBS.get(type(request))) is not None:
            return Change("change", "VM", name, verb.value)
    return Change("look", "", name)


def _made(request: CreateVm, name: str) -> VmView:
    return VmView(
        name=name,
        state=VmState.RUNNING if request.start else VmState.STOPPED,
        image=request.image or "",
        address="",
        mac="",
        pid=None,
        vcpus=request.vcpus or 1,
        memory_mib=request.memory_mib or 0,
        disk_bytes=request.disk_bytes or 0,
        disk_allocated_bytes=0,
        created_at="",
        id="",
        driver="",
        accelerator=None,
        tap=None,
        reason="",
        labels=dict(request.labels),
        options={},
    )


def _without_stand_ins(change: Change, order: Order) -> Change:
    """With the names of late values. What would go wrong with these is not known."""
    name, problem, code = change.name, change.problem, change.code
    for digits, written in late_names(order).items():
        if digits in name:
            name, problem, code = name.replace(digits, written), "", 0
    return msgspec.structs.replace(change, name=name, problem=problem, code=code)
