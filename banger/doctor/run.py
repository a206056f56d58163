"""Runs checks: all at once, each within its deadline, whatever one of them does."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import msgspec
import trio

from banger.capabilities import guard
from banger.capabilities.check import Check
from banger.kernel.errors import BangerError, HostNotReady
from banger.model.finding import Finding, Level
from banger.model.vm import Verb

log = logging.getLogger(__name__)

DEADLINE_S = 10.0
BEFORE_DEADLINE_S = 2.0
"""For a check that somebody's create or start waits for."""
AT_ONCE = 8


class OwnedCheck(msgspec.Struct, frozen=True):
    """A check and the capability it comes from; "" for banger's own."""

    check: Check
    capability: str = ""

    @property
    def title(self) -> str:
        whose = f" of capability {self.capability!r}" if self.capability else ""
        return f"check {self.check.name!r}{whose}"


async def run_checks(
    checks: Iterable[OwnedCheck], *, fix: bool, deadline_s: float = DEADLINE_S
) -> list[Finding]:
    """What all checks find, in their order.

    A check that raises, or takes longer than the deadline, is itself a finding. With ``fix``
    whatever fixable was found is repaired, one check after the other in their order, and
    each looks again; what was done is in the `Finding.fixed` of the first line then.
    Cancellable.
    """
    order = list(checks)
    found: list[list[Finding]] = [[] for _ in order]
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def look(index: int) -> None:
        async with limiter:
            found[index] = await _findings(order[index], deadline_s)

    async with trio.open_nursery() as nursery:
        for index in range(len(order)):
            nursery.start_soon(look, index)
    if fix:
        for index, owned in enumerate(order):
            if any(f.fixable and f.level is not Level.OK for f in found[index]):
                found[index] = await _repair(owned, found[index], deadline_s)
    return [finding for findings in found for finding in findings]


async def refuse_unless_ready(
    checks: Iterable[OwnedCheck], verb: Verb, *, deadline_s: float = BEFORE_DEADLINE_S
) -> None:
    """Run the checks that come before this verb.

    Raises `HostNotReady` with what the first of them found that does not work. One that
    misbehaves refuses nobody: that is logged, and for `run_checks` to show. Cancellable.
    """
    for owned in checks:
        if verb not in owned.check.before:
            continue
        try:
            found = await _run(owned, deadline_s)
        except guard.Misbehaved as error:
            log.warning("%s before %s: %s", owned.title, verb, error)
            continue
        except BangerError as error:
            raise HostNotReady(error.message, hint=error.hint) from error
        for finding in found:
            if finding.level is Level.FAILED:
                raise HostNotReady(finding.summary, hint=finding.remedy)


async def _run(owned: OwnedCheck, deadline_s: float) -> list[Finding]:
    """Raises `BangerError` or `guard.Misbehaved`."""
    found: Sequence[Finding] = await guard.call_async(owned.check.run, deadline_s=deadline_s)
    try:
        # Constructors check nothing, and a plugin may return anything.
        return msgspec.convert(msgspec.to_builtins(list(found)), list[Finding])
    except (TypeError, msgspec.MsgspecError) as error:
        raise guard.Misbehaved(f"returned no findings: {error}") from None


async def _findings(owned: OwnedCheck, deadline_s: float) -> list[Finding]:
    name = owned.check.name
    try:
        found = await _run(owned, deadline_s)
    except guard.Misbehaved as error:
        log.warning("%s %s", owned.title, error, exc_info=error)
        return [Finding(name, Level.FAILED, f"{owned.title} {error}", _BROKEN)]
    except BangerError as error:
        return [Finding(name, Level.FAILED, error.message, error.hint)]
    return found or [Finding(name, Level.OK, "nothing to report")]


async def _repair(owned: OwnedCheck, before: list[Finding], deadline_s: float) -> list[Finding]:
    fix = owned.check.fix
    if fix is None:
        return before
    try:
        done = await guard.call_async(fix, deadline_s=deadline_s)
    except (guard.Misbehaved, BangerError) as error:
        log.warning("the repair of %s failed: %s", owned.title, error)
        problem = f"the repair of {owned.title} failed: {error}"
        return [*before, Finding(owned.check.name, Level.FAILED, problem, _BROKEN)]
    first, *others = await _findings(owned, deadline_s)
    return [msgspec.structs.replace(first, fixed=str(done)), *others]


_BROKEN = "the daemon's log has more"
