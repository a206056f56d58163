"""The labels that tell what a VM is of a stack. They live and die with the VM."""

from __future__ import annotations

from banger.model.vm import VmView

STACK = "banger.stack"
"""The stack's name."""
LEVEL = "banger.stack.level"
"""0: it depends on no VM; else one more than the highest of those it depends on."""
OPTIONS = "banger.stack.options"
"""Digest of the options that the file said when they were last set."""
PROVISION = "banger.stack.provision"
"""Digest of the steps that have run in it. A label, and not a file of the guest's: a guest
can't lie about it, it can be read while the VM is stopped, and a VM made anew has none."""

OWN = frozenset({STACK, LEVEL, OPTIONS, PROVISION})


def stack_of(view: VmView) -> str | None:
    return view.labels.get(STACK)


def level_of(view: VmView) -> int:
    text = view.labels.get(LEVEL, "")
    return int(text) if text.isdecimal() and len(text) < 5 else 0
