"""What will run: no variable, ``each`` or ``include`` is left, only values that come late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import msgspec

from banger.batch.problems import Place
from banger.batch.words import quoted


class Late(msgspec.Struct, frozen=True):
    """A value that a ``capture`` puts into its slot while the plan runs."""

    slot: int
    name: str


class Value(msgspec.Struct, frozen=True):
    """A word with all that is known put in."""

    parts: tuple[str | Late, ...]
    at: Place

    @property
    def known(self) -> str | None:
        """The whole of it, unless something comes late."""
        return (
            None if any(isinstance(p, Late) for p in self.parts) else "".join(map(str, self.parts))
        )

    def fill(self, slots: Mapping[int, str]) -> str:
        return "".join(slots[p.slot] if isinstance(p, Late) else p for p in self.parts)

    def show(self) -> str:
        """As it could be written in a file."""
        if self.known is not None:
            return quoted(self.known)
        return "".join(f"${{{p.name}}}" if isinstance(p, Late) else p for p in self.parts)


class Order(msgspec.Struct, frozen=True):
    """A command line."""

    at: Place
    words: tuple[Value, ...]

    def fill(self, slots: Mapping[int, str]) -> list[str]:
        return [word.fill(slots) for word in self.words]

    def show(self) -> str:
        return " ".join(word.show() for word in self.words)


class Wanted(msgspec.Struct, frozen=True):
    """What a command must come to."""

    code: Value | None = None
    outputs: tuple[Value, ...] = ()
    matches: tuple[Value, ...] = ()


class Command(msgspec.Struct, frozen=True):
    order: Order


class Expectation(msgspec.Struct, frozen=True):
    order: Order
    wanted: Wanted


class Capturing(msgspec.Struct, frozen=True):
    order: Order
    slot: int
    path: Value | None


class Pausing(msgspec.Struct, frozen=True):
    at: Place
    seconds: Value


class Waiting(msgspec.Struct, frozen=True):
    order: Order
    wanted: Wanted
    timeout_s: Value | None
    every_s: Value | None


class Deferring(msgspec.Struct, frozen=True):
    order: Order


class Fork(msgspec.Struct, frozen=True):
    """A ``parallel`` block: its branches run at the same time."""

    at: Place
    branches: tuple[Plan, ...]
    keep_going: bool


Step: TypeAlias = Command | Expectation | Capturing | Pausing | Waiting | Deferring | Fork
Plan: TypeAlias = tuple[Step, ...]


def orders(plan: Plan) -> Iterator[Order]:
    """Every command of the plan, in the order of the file."""
    for step in plan:
        match step:
            case Fork(branches=branches):
                for branch in branches:
                    yield from orders(branch)
            case Pausing():
                pass
            case _:
                yield step.order
