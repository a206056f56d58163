"""Bases of what actors, the bus and the socket carry. Free of trio: clients import it."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

R = TypeVar("R")


class Request(msgspec.Struct, Generic[R], frozen=True, forbid_unknown_fields=True):
    """Base of every request. The type parameter is the reply's type."""


def reply_type(request: type[Request[R]]) -> type[R]:
    """The type in ``class X(Request[type])``."""
    (base,) = request.__orig_bases__  # type: ignore[attr-defined]
    (reply,) = base.__args__
    return reply  # type: ignore[no-any-return]


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every event."""


class Lost(Event, frozen=True, tag="lost"):
    """``count`` events did not fit into this subscriber's queue."""

    count: int


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A failure that a test asks for: at the end of ``stage`` fail, or hang until cancelled."""

    stage: str
    hang: bool = False
