"""A command run up to where it would ask the daemon: what it refuses, and what it would ask.

Every command checks its values before it asks for anything, so this finds names, sizes and
labels that are wrong without a rule of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from banger.cli.invocation import Invocation
from banger.client.connection import Connection
from banger.commands.context import Context
from banger.commands.session import Session
from banger.commands.sink import KeptSink
from banger.kernel.message import Request
from banger.model.requests.images import ListImages
from banger.model.requests.vms import ListVms

R = TypeVar("R")

_VM_VERBS = "create fork start stop restart pause resume set delete show list exec logs wait"
_IMAGE_VERBS = "list show default rename delete prune log cancel"
REHEARSED = frozenset(
    (group, verb)
    for group, verbs in (("vm", _VM_VERBS), ("image", _IMAGE_VERBS))
    for verb in verbs.split()
)
"""Commands that touch nothing but through the daemon, and may be run up to there."""

Answer = Callable[[Request[Any]], Any]


class _Reached(Exception):
    """The command has come to where it would ask the daemon for this."""

    def __init__(self, requests: Sequence[Request[Any]]) -> None:
        super().__init__()
        self.requests = list(requests)


def unanswered(request: Request[Any]) -> NoReturn:
    """Nothing is known of the real state."""
    raise _Reached([request])


def rehearse(
    invocation: Invocation, session: Session, answer: Answer = unanswered
) -> list[Request[Any]]:
    """The requests that the command would make. Raises what the command raises before.

    ``answer`` tells lists of VMs and images, from which commands choose.
    """
    if invocation.command.path not in REHEARSED:
        return []
    with _Rehearsal(session, answer) as context:
        try:
            invocation.run(context)
        except _Reached as reached:
            return reached.requests
    return []


class _Rehearsal(Context):
    def __init__(self, session: Session, answer: Answer) -> None:
        super().__init__(session, KeptSink(), json=False)
        self._stand_in = _StandIn(answer)

    @property
    def daemon(self) -> Connection:
        return self._stand_in


class _StandIn(Connection):
    """Has no socket: it is asked, and tells whoever rehearses."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def call(
        self,
        request: Request[R],
        *,
        items: Any = None,
        on_item: Callable[[Any], None] = lambda item: None,
    ) -> R:
        if isinstance(request, ListVms | ListImages):
            found: R = self._answer(request)
            return found
        raise _Reached([request])

    def call_all(self, requests: Sequence[Request[Any]], **_: Any) -> NoReturn:
        raise _Reached(requests)

    def begin(self, request: Request[Any]) -> NoReturn:
        raise _Reached([request])
