"""What a command consists of."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec


class Kind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    SECONDS = "seconds"
    FLAG = "flag"
    CHOICE = "choice"


class Completion(StrEnum):
    """What to offer when a value is to be completed."""

    NOTHING = "nothing"
    VM = "vm"
    IMAGE = "image"
    FILE = "file"


class Argument(msgspec.Struct, frozen=True):
    """A positional parameter. ``many`` takes all that are left, at least one if required."""

    name: str
    help: str
    required: bool = True
    many: bool = False
    metavar: str = ""
    completion: Completion = Completion.NOTHING


class Option(msgspec.Struct, frozen=True):
    """A parameter by flag. ``many``: it may be given several times, and is a tuple."""

    name: str
    flags: tuple[str, ...]
    help: str
    kind: Kind = Kind.TEXT
    metavar: str = ""
    default: Any = None
    many: bool = False
    choices: tuple[str, ...] = ()
    hidden: bool = False
    completion: Completion = Completion.NOTHING


class Command(msgspec.Struct, frozen=True):
    """``run(context, **parameters)`` returns the exit code; None is 0."""

    path: tuple[str, ...]
    summary: str
    run: Callable[..., int | None]
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()
    details: str = ""
    examples: tuple[str, ...] = ()
    mutates: bool = False


SETTINGS = Option(
    "flags", ("--set",), "Use this value of a setting.", metavar="KEY=VALUE", many=True
)
VM_NAME = Argument("name", "Name of the VM.", completion=Completion.VM)
VM_NAMES = Argument("names", "Names of the VMs.", many=True, completion=Completion.VM)
