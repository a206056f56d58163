"""What is between a stack's file and the VMs there are."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from banger.kernel.errors import Conflict
from banger.model.sizes import show_size
from banger.model.vm import VmState, VmView
from banger.stack.definition import Member, Stack
from banger.stack.labels import LEVEL, OPTIONS, PROVISION, STACK, stack_of


class Verb(StrEnum):
    CREATE = "create"
    RECREATE = "recreate"
    """Delete it with its disks, then create it."""
    RESHAPE = "reshape"
    """Change what can only be changed while it is stopped."""
    SET = "set"
    START = "start"
    STOP = "stop"
    PROVISION = "provision"
    DELETE = "delete"


class Need(StrEnum):
    """The flag without which it is not done."""

    RESTART = "--restart"
    RECREATE = "--recreate"
    PRUNE = "--prune"


class Action(msgspec.Struct, frozen=True):
    """``needs``: it waits for this flag, and is not done now."""

    verb: Verb
    details: str
    needs: Need | None = None


class VmPlan(msgspec.Struct, frozen=True):
    """``view`` is the VM as it is, None: there is none. ``actions`` in their order."""

    name: str
    member: Member | None
    """None: the file does not have it any more."""
    view: VmView | None
    actions: list[Action]

    @property
    def due(self) -> list[Action]:
        return [action for action in self.actions if action.needs is None]

    @property
    def held_back(self) -> list[Action]:
        return [action for action in self.actions if action.needs is not None]


def plan_stack(
    stack: Stack, views: Mapping[str, VmView], given: frozenset[Need]
) -> tuple[list[VmPlan], list[Conflict]]:
    """The plans in the order of dependencies, and why the stack can't be applied at all."""
    plans: list[VmPlan] = []
    conflicts: list[Conflict] = []
    for name, member in stack.members.items():
        view = views.get(name)
        try:
            _check_ours(stack, name, view)
        except Conflict as error:
            conflicts.append(error)
            continue
        plans.append(VmPlan(name, member, view, _actions(stack, member, view, given)))
    for name, view in views.items():
        if stack_of(view) == stack.name and name not in stack.members:
            needs = _missing(Need.PRUNE, given)
            gone = Action(Verb.DELETE, "the file does not have it any more", needs)
            plans.append(VmPlan(name, None, view, [gone]))
    return plans, conflicts


def _check_ours(stack: Stack, name: str, view: VmView | None) -> None:
    if view is None:
        return
    owner = stack_of(view)
    if owner != stack.name:
        whose = f"of the stack {owner!r}" if owner else "of no stack"
        raise Conflict(
            f"VM {name!r} exists already and is {whose}",
            hint=f"choose another name, or 'banger vm delete {name}' first",
        )
    if view.state not in (VmState.RUNNING, VmState.STOPPED, VmState.CRASHED, VmState.FAILED):
        raise Conflict(f"VM {name!r} is {view.state}", hint="apply again when it is not")


def _actions(
    stack: Stack, member: Member, view: VmView | None, given: frozenset[Need]
) -> list[Action]:
    table = member.table
    steps = len(member.table.provision)
    provision = [Action(Verb.PROVISION, f"{steps} step{'s' * (steps != 1)}")] if steps else []
    if view is None:
        return [Action(Verb.CREATE, _described(member)), *provision]
    if reason := _recreate_reason(member, view):
        needs = _missing(Need.RECREATE, given)
        if needs is None:
            return [Action(Verb.RECREATE, reason), *provision]
        return [Action(Verb.RECREATE, reason, needs)]
    runs, wanted = view.state is VmState.RUNNING, table.state == "running"
    actions: list[Action] = []
    if shape := _shape_changes(member, view):
        needs = _missing(Need.RESTART, given) if runs and wanted else None
        actions.append(Action(Verb.RESHAPE, ", ".join(shape), needs))
    if changes := set_changes(stack, member, view):
        actions.append(Action(Verb.SET, ", ".join(changes)))
    if runs and not wanted:
        actions.insert(0, Action(Verb.STOP, "its state is to be stopped"))
    if wanted and not runs:
        actions.append(Action(Verb.START, f"it is {view.state}"))
    if member.provision_digest != view.labels.get(PROVISION, "") and provision:
        why = "its steps have changed" if PROVISION in view.labels else "its steps have not run"
        actions.append(Action(Verb.PROVISION, f"{provision[0].details}, {why}"))
    return actions


def _recreate_reason(member: Member, view: VmView) -> str:
    table = member.table
    if view.state is VmState.FAILED:
        return f"it has failed: {view.reason}"
    if table.image is not None and table.image != view.image:
        return f"image {view.image} → {table.image}"
    if table.disk_bytes is not None and table.disk_bytes < view.disk_bytes:
        return f"disk {show_size(view.disk_bytes)} → {show_size(table.disk_bytes)}, smaller"
    return ""


def _shape_changes(member: Member, view: VmView) -> list[str]:
    table, changes = member.table, []
    if table.vcpus not in (None, view.vcpus):
        changes.append(f"vcpus {view.vcpus} → {table.vcpus}")
    if table.memory not in (None, view.memory_mib):
        changes.append(f"memory {view.memory_mib} MiB → {table.memory} MiB")
    if table.disk_bytes is not None and table.disk_bytes > view.disk_bytes:
        changes.append(f"disk {show_size(view.disk_bytes)} → {show_size(table.disk_bytes)}")
    return changes


def set_changes(stack: Stack, member: Member, view: VmView) -> list[str]:
    """What labels and options differ, for people."""
    wanted = {**member.table.labels, STACK: stack.name}
    differ = [f"label {k}={v}" for k, v in wanted.items() if view.labels.get(k) != v]
    if view.labels.get(OPTIONS, "") != member.options_digest:
        differ.append(f"options of {', '.join(member.table.options) or 'none'}")
    if view.labels.get(LEVEL) != str(member.level):
        differ.append("its place in the order")
    return differ


def labels_of(stack: Stack, member: Member) -> dict[str, str]:
    """All that the VM is to have, but for that of its provisioning."""
    own = {STACK: stack.name, LEVEL: str(member.level)}
    if member.options_digest:
        own[OPTIONS] = member.options_digest
    return {**member.table.labels, **own}


def _missing(need: Need, given: frozenset[Need]) -> Need | None:
    return None if need in given else need


def _described(member: Member) -> str:
    table = member.table
    parts = [f"image {table.image}"] if table.image else []
    parts += [f"{table.vcpus} vCPUs"] if table.vcpus else []
    parts += [f"{table.memory} MiB"] if table.memory else []
    parts += [f"disk {table.disk}"] if table.disk else []
    parts += ["stopped"] if table.state == "stopped" else []
    parts += [f"after {', '.join(table.depends_on)}"] if table.depends_on else []
    return ", ".join(parts)
