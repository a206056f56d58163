from __future__ import annotations

from collections.abc import Sequence

import msgspec

from banger.batch.problems import Problems, TooMany, show
from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.commands.select import PARALLEL, check_parallel
from banger.kernel.errors import BangerError, Conflict, ErrorReply, NotFound, UsageError
from banger.model.requests.images import ListImages
from banger.model.requests.vms import ListVms
from banger.stack.apply import apply_plans
from banger.stack.definition import Stack
from banger.stack.plan import Action, Need, Verb, VmPlan, plan_stack
from banger.stack.read import read_stack


class FileProblem(msgspec.Struct, frozen=True):
    file: str
    line: int
    column: int
    message: str
    hint: str


class AppliedVm(msgspec.Struct, frozen=True):
    """``actions`` whose ``needs`` is not null wait for that flag. ``done``: those due are done."""

    name: str
    actions: list[Action]
    done: bool
    error: ErrorReply | None


class Applied(msgspec.Struct, frozen=True):
    """What ``banger apply --json`` prints. ``errors`` are why nothing was done at all."""

    stack: str
    problems: list[FileProblem] = []
    errors: list[ErrorReply] = []
    vms: list[AppliedVm] = []


def run(
    context: Context,
    *,
    file: str,
    only_plan: bool,
    restart: bool,
    recreate: bool,
    prune: bool,
    parallel: int,
) -> int:
    check_parallel(parallel)
    flags = {Need.RESTART: restart, Need.RECREATE: recreate, Need.PRUNE: prune}
    given = frozenset(need for need, flag in flags.items() if flag)
    stack = _read(context, file)
    if stack is None:
        return UsageError.exit_code
    views = {view.name: view for view in context.call(ListVms())}
    plans, conflicts = plan_stack(stack, views, given)
    errors: list[BangerError] = [*conflicts, *_missing_images(context, plans)]
    if errors:
        context.document(Applied(stack.name, errors=[ErrorReply.of(error) for error in errors]))
        for error in errors:
            context.note(f"banger: {error}")
        return errors[0].exit_code
    _tell_plans(context, stack, plans, only_plan=only_plan)
    if only_plan:
        context.document(Applied(stack.name, vms=[_applied(plan, {}, False) for plan in plans]))
        return 0
    failed = apply_plans(context, stack, plans, at_once=parallel)
    context.document(Applied(stack.name, vms=[_applied(plan, failed, True) for plan in plans]))
    return _code(plans, failed)


def _read(context: Context, file: str) -> Stack | None:
    """None when something is wrong with it, which was told then."""
    problems = Problems()
    try:
        stack, source = read_stack(file, context.session.interface(), problems)
    except TooMany as error:
        raise UsageError(f"{file}: {error.message}") from error
    if not problems:
        return stack
    found = [FileProblem(p.at.file, p.at.line, p.at.column, p.message, p.hint) for p in problems]
    context.document(Applied(stack.name, problems=found))
    for line in show(problems, {source.name: source.lines}):
        context.note(line)
    return None


def _missing_images(context: Context, plans: Sequence[VmPlan]) -> list[BangerError]:
    wanted = [
        (plan.name, plan.member.table.image)
        for plan in plans
        if plan.member is not None
        and plan.member.table.image is not None
        and any(action.verb in (Verb.CREATE, Verb.RECREATE) for action in plan.actions)
    ]
    there = {view.name for view in context.call(ListImages())} if wanted else set()
    return [
        NotFound(f"VM {name!r}: there is no image {image!r}", hint="see 'banger image list'")
        for name, image in wanted
        if image not in there
    ]


def _tell_plans(
    context: Context, stack: Stack, plans: Sequence[VmPlan], *, only_plan: bool
) -> None:
    """The whole plan, or only what is not done now and needs a word."""
    for plan in plans:
        for action in plan.actions if only_plan else plan.held_back:
            line = f"{action.verb:<9} {plan.name}"
            line += f": {action.details}" if action.details else ""
            if action.needs is not None:
                line += f" (not done without {action.needs})"
            context.line(line)
    if not any(plan.actions for plan in plans):
        context.line(f"stack {stack.name} is as {len(plans)} VMs of the file say")


def _applied(plan: VmPlan, failed: dict[str, BangerError], applied: bool) -> AppliedVm:
    error = failed.get(plan.name)
    reply = None if error is None else ErrorReply.of(error)
    return AppliedVm(plan.name, plan.actions, applied and error is None, reply)


def _code(plans: Sequence[VmPlan], failed: dict[str, BangerError]) -> int:
    """Of the first failure; else whether the stack is as the file says."""
    for plan in plans:
        if plan.name in failed:
            return failed[plan.name].exit_code
    held_back = (action for plan in plans for action in plan.held_back)
    return Conflict.exit_code if any(a.needs is not Need.PRUNE for a in held_back) else 0


COMMAND = Command(
    path=("apply",),
    summary="Bring the VMs of a stack file to the state it says.",
    details="Creates what is missing and changes what differs, in the order of dependencies and "
    "as much at once as that allows. What would stop a VM or lose its disks is only told, unless "
    "its flag is given; the exit code is 4 then. docs/stacks.md tells about the file.",
    run=run,
    reply=Applied,
    mutates=True,
    arguments=(Argument("file", "The stack file, TOML.", completion=Completion.FILE),),
    options=(
        Option("only_plan", ("--plan",), "Show what would be done, and do nothing.", Kind.FLAG),
        Option("restart", ("--restart",), "Stop and start VMs whose shape differs.", Kind.FLAG),
        Option(
            "recreate",
            ("--recreate",),
            "Delete VMs with their disks and create them anew where nothing less will do.",
            Kind.FLAG,
        ),
        Option(
            "prune", ("--prune",), "Delete the stack's VMs that the file has no more.", Kind.FLAG
        ),
        PARALLEL,
    ),
    examples=("banger apply --plan stack.toml", "banger apply stack.toml --prune"),
)
