"""Applies a stack: each VM once those it depends on are ready, as many at once as are allowed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from banger.commands.cancellation import Cancellation
from banger.commands.context import Context
from banger.commands.sink import KeptSink
from banger.kernel.errors import BangerError, Conflict
from banger.model.text import printable
from banger.model.vm import VmState
from banger.stack.bring import Bringing
from banger.stack.definition import Stack
from banger.stack.plan import VmPlan


def apply_plans(
    context: Context, stack: Stack, plans: list[VmPlan], *, at_once: int
) -> dict[str, BangerError]:
    """Do all that is due. The errors, by VM; what does not depend on a failed VM is done.

    When interrupted, what is under way is cancelled; what was done stays, and the next apply
    goes on from there.
    """
    return _Applying(context, stack, plans).run(at_once)


class _Applying:
    def __init__(self, context: Context, stack: Stack, plans: list[VmPlan]) -> None:
        self._context = context
        self._stack = stack
        self._plans = {plan.name: plan for plan in plans}
        self._lock = threading.Lock()
        self._errors: dict[str, BangerError] = {}
        self._waiting = {plan.name: self._awaited(plan) for plan in plans if self._has_work(plan)}
        self._cancellation = Cancellation()

    def run(self, at_once: int) -> dict[str, BangerError]:
        running: dict[Future[None], str] = {}
        with (
            self._context.telling(self._cancellation.cancel),
            ThreadPoolExecutor(at_once) as threads,
        ):
            try:
                while self._waiting or running:
                    for name in self._ready():
                        running[threads.submit(self._bring, self._plans[name])] = name
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._note(running.pop(future), future.exception())
            except BaseException:
                self._cancellation.cancel()
                raise
        return self._errors

    def _has_work(self, plan: VmPlan) -> bool:
        return bool(plan.due) or self._has_health(plan)

    def _has_health(self, plan: VmPlan) -> bool:
        """Whether it is to be asked for its health: each time, for it may have lost it."""
        if plan.member is None or plan.member.table.health is None:
            return False
        return bool(plan.due) or (plan.view is not None and plan.view.state is VmState.RUNNING)

    def _awaited(self, plan: VmPlan) -> set[str]:
        depends = () if plan.member is None else plan.member.table.depends_on
        return {name for name in depends if self._has_work(self._plans[name])}

    def _ready(self) -> Iterable[str]:
        """Those that wait for nothing any more; they leave the list."""
        ready = [name for name, awaited in self._waiting.items() if not awaited]
        for name in ready:
            del self._waiting[name]
        return ready

    def _bring(self, plan: VmPlan) -> None:
        own = Context(self._context.session, KeptSink(), json=False)
        with own, self._cancellation.reaching(own):
            bringing = Bringing(own, self._stack, plan, self._tell)
            bringing.run(check_health=self._has_health(plan))

    def _note(self, name: str, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, BangerError):
            raise error
        if error is not None:
            self._fail(name, error)
        for awaited in self._waiting.values():
            awaited.discard(name)

    def _fail(self, name: str, error: BangerError) -> None:
        self._errors[name] = error
        which = "" if repr(name) in error.message else f"{name}: "
        self._context.note(f"banger: {which}{error}")
        for other in [other for other, awaited in self._waiting.items() if name in awaited]:
            if self._waiting.pop(other, None) is not None:
                self._fail(other, Conflict(f"VM {other!r} is left alone: it needs {name!r}"))

    def _tell(self, line: str) -> None:
        with self._lock:
            self._context.line(printable(line))
