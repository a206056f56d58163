"""What a command, an argument and an option are, as data.

The command line of banger itself and what plugins add to it are declared with these.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Kind(StrEnum):
    """The type of a value on the argument line."""

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
    PLACE = "place"
    """A file here, or one in a VM: ``NAME:/path``."""
    LABEL = "label"
    """``KEY=VALUE`` of a VM."""
    LABEL_KEY = "label-key"
    CAPABILITY = "capability"
    PLUGIN = "plugin"
    SNAPSHOT = "snapshot"
    SETTING = "setting"
    COMMAND = "command"
    """Of banger."""


class Argument(msgspec.Struct, frozen=True):
    """A positional parameter. ``many`` takes all that are left, at least one if required."""

    name: str
    help: str
    required: bool = True
    many: bool = False
    metavar: str = ""
    completion: Completion = Completion.NOTHING
    choices: tuple[str, ...] = ()


class Option(msgspec.Struct, frozen=True):
    """A parameter by flag. ``many``: it may be given several times, and is a tuple.

    ``off_flags`` of a `Kind.FLAG` say the opposite; not given at all, its value is then None.
    """

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
    off_flags: tuple[str, ...] = ()


class Syntax(msgspec.Struct, frozen=True):
    """A command as the argument line sees it. ``examples`` are whole command lines."""

    path: tuple[str, ...]
    summary: str
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()
    details: str = ""
    examples: tuple[str, ...] = ()
