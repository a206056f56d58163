"""What a command consists of."""

from __future__ import annotations

from collections.abc import Callable

from banger.model.command import Argument, Completion, Kind, Option, Syntax

__all__ = ["SETTINGS", "VM_NAME", "Argument", "Command", "Completion", "Kind", "Option"]


class Command(Syntax, frozen=True, kw_only=True):
    """``run(context, **parameters)`` returns the exit code; None is 0."""

    run: Callable[..., int | None]
    mutates: bool = False
    takes_options: bool = False
    """The options of capabilities are its options too; ``run`` gets them as ``options``."""
    dashes_split: bool = False
    """It has two arguments, both for many words: ``--`` stands between them. In a line
    without ``--`` the first gets one word."""


SETTINGS = Option(
    "flags", ("--set",), "Use this value of a setting.", metavar="KEY=VALUE", many=True
)
VM_NAME = Argument("name", "Name of the VM.", completion=Completion.VM)
