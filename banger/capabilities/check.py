"""Checks: is this host ready? ``banger doctor`` runs them all, some commands a few."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from banger.model.finding import Finding, Level
from banger.model.vm import Verb


class Check(msgspec.Struct, frozen=True):
    """``run`` returns what it found, at least one line; it changes nothing.

    What is ``before`` a verb is run before it, and a `Level.FAILED` there refuses the
    operation before anything was touched; so it must be quick. ``fix`` does the safe repair
    of what was found, is idempotent, and returns what it has done.
    """

    name: str
    run: Callable[[], Awaitable[Sequence[Finding]]]
    before: frozenset[Verb] = frozenset()
    fix: Callable[[], Awaitable[str]] | None = None

    def ok(self, summary: str) -> Finding:
        return Finding(self.name, Level.OK, summary)

    def warning(self, summary: str, remedy: str) -> Finding:
        return Finding(self.name, Level.WARNING, summary, remedy, fixable=self.fix is not None)

    def failed(self, summary: str, remedy: str) -> Finding:
        return Finding(self.name, Level.FAILED, summary, remedy, fixable=self.fix is not None)
