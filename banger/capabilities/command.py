"""Commands that a plugin adds. They run in the daemon; the client shows what they say::

class Greet(Capability[GreetOptions]):
    @command(Syntax(("greet", "all"), "Greet every VM."))
    async def greet_all(self, call: CommandCall) -> int: ...
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from banger.model.command import Syntax

F = TypeVar("F", bound=Callable[[Any, "CommandCall"], Awaitable[int]])

_SYNTAX = "_banger_syntax"


class CommandCall:
    """One run of a command: its parameters, and where its output goes."""

    def __init__(self, parameters: dict[str, Any], write: Callable[[str], Awaitable[None]]) -> None:
        self.parameters = parameters
        """By the names in the `Syntax`; None or an empty list when not given."""
        self.document: Any = None
        """What ``--json`` prints. Plain data or structs."""
        self._write = write

    async def line(self, text: str) -> None:
        """A line for people, shown at once; left out with ``--json``."""
        await self._write(text + "\n")


def command(syntax: Syntax) -> Callable[[F], F]:
    """Make the method a command. It returns the exit code; a `BangerError` is shown as usual.

    It is cancelled when the client goes away. A path of two or three words; one of
    banger's own commands can't be replaced.
    """

    def mark(method: F) -> F:
        setattr(method, _SYNTAX, syntax)
        return method

    return mark


def commands_of(capability: type[object]) -> Iterator[tuple[Syntax, str]]:
    """Each command with the name of its method."""
    for name in dir(capability):
        syntax = getattr(getattr(capability, name), _SYNTAX, None)
        if isinstance(syntax, Syntax):
            yield syntax, name
