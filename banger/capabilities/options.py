"""Options of a VM that a capability declares as the fields of a struct.

A field's type and its `option` make the flag::

    class GreetOptions(Options, frozen=True):
        greeting: Annotated[str, option("What to say at login.", metavar="TEXT")] = ""

gives ``--greet-greeting TEXT`` to a capability called ``greet``, in ``vm create`` and
``vm set``. The types: ``bool`` (with a ``--no-`` twin), ``int``, ``str``, a ``Literal`` of
texts, ``list[str]`` (the flag may be given several times). Every field has a default.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar

import msgspec

from banger.kernel.errors import UsageError
from banger.model.command import Completion, Kind, Option

O = TypeVar("O", bound="Options")  # noqa: E741 - reads as what it is


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of a capability's options. ``__post_init__`` may raise ValueError for a bad value."""


def option(
    help: str,
    *flags: str,
    metavar: str = "",
    completion: Completion = Completion.NOTHING,
    **constraints: Any,
) -> msgspec.Meta:
    """The annotation of a field. Without ``flags`` they are made of the names.

    ``constraints`` are msgspec's: ``ge``, ``le``, ``pattern``, ``max_length`` …
    """
    extra = {"flags": flags, "metavar": metavar, "completion": completion}
    return msgspec.Meta(description=help, extra=extra, **constraints)


def declarations(capability: str, options: type[Options]) -> list[Option]:
    """The flags of the options. Raises TypeError for a field that can't be one."""
    return [_declaration(capability, field) for field in msgspec.structs.fields(options)]


def field_of(capability: str, declared: Option) -> str:
    """The field that an option of `declarations` sets."""
    return declared.name.removeprefix(_prefix(capability))


def with_changes(capability: str, before: O, changes: Mapping[str, object], options: type[O]) -> O:
    """The options with some fields changed. Raises `UsageError` naming the flag or field."""
    plain = msgspec.to_builtins(before) | dict(changes)
    try:
        return msgspec.convert(plain, options)
    except msgspec.ValidationError as error:
        text = str(error)
        for declared in declarations(capability, options):
            field = field_of(capability, declared)
            if f"`$.{field}" in text:
                reason = text.partition(" - at `$")[0]
                raise UsageError(f"{declared.flags[0]} {changes.get(field)!r}: {reason}") from None
        raise UsageError(f"options of capability {capability!r}: {text}") from None


def _prefix(capability: str) -> str:
    return capability.replace("-", "_") + "__"


def _declaration(capability: str, field: msgspec.structs.FieldInfo) -> Option:
    meta = _meta(field.type)
    if meta is None:
        raise TypeError(f"option {field.name!r} is not Annotated with option(…)")
    if field.required:
        raise TypeError(f"option {field.name!r} has no default")
    kind, many, choices = _kind(field)
    extra = meta.extra or {}
    flags = extra["flags"] or (f"--{capability}-{field.name}".replace("_", "-"),)
    return Option(
        name=_prefix(capability) + field.name,
        flags=flags,
        off_flags=(
            tuple(f"--no-{flag[2:]}" for flag in flags if flag.startswith("--"))
            if kind is Kind.FLAG
            else ()
        ),
        help=meta.description or "",
        kind=kind,
        many=many,
        choices=choices,
        metavar=extra["metavar"],
        completion=extra["completion"],
    )


def _meta(annotation: Any) -> msgspec.Meta | None:
    for argument in getattr(annotation, "__metadata__", ()):
        if isinstance(argument, msgspec.Meta) and argument.extra and "flags" in argument.extra:
            return argument
    return None


def _kind(field: msgspec.structs.FieldInfo) -> tuple[Kind, bool, tuple[str, ...]]:
    plain: Any = typing.get_args(field.type)[0]
    if isinstance(plain, UnionType):
        (plain,) = (part for part in typing.get_args(plain) if part is not NoneType)
    origin = typing.get_origin(plain)
    if origin in (list, tuple):
        return Kind.TEXT, True, ()
    if origin is Literal:
        return Kind.CHOICE, False, typing.get_args(plain)
    kinds: dict[type, Kind] = {
        bool: Kind.FLAG,
        int: Kind.NUMBER,
        float: Kind.SECONDS,
        str: Kind.TEXT,
    }
    if plain not in kinds:
        raise TypeError(f"option {field.name!r} is of type {plain}, which no flag can have")
    return kinds[plain], False, ()
