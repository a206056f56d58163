"""What a command consists of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from banger.model.command import Argument, Completion, Kind, Option, Syntax

__all__ = ["SETTINGS", "VM_NAME", "Argument", "Command", "Completion", "Kind", "Option"]


class Command(Syntax, frozen=True, kw_only=True):
    """``run(context, **parameters)`` returns the exit code; None is 0."""

    run: Callable[..., int | None]
    reply: Any = None
    """The type of what ``--json`` prints; None where there is no such thing."""
    streams: bool = False
    """``--json`` prints one such document a line, as they come."""
    mutates: bool = False
    """Whether it may change anything: a VM, an image, the daemon, a file."""
    takes_terminal: bool = False
    """It hands the terminal to another program. So do flags `tty` and `watch`."""
    takes_options: bool = False
    """The options of capabilities are its options too; ``run`` gets them as ``options``."""
    dashes_split: bool = False
    """It has two arguments, both for many words: ``--`` stands between them. In a line
    without ``--`` the first gets one word."""


SETTINGS = Option(
    "flags",
    ("--set",),
    "Use this value of a setting.",
    metavar="KEY=VALUE",
    many=True,
    completion=Completion.SETTING,
)
VM_NAME = Argument("name", "Name of the VM.", completion=Completion.VM)
