"""Runs a plan: steps in sequence, the branches of a ``parallel`` block in threads.

A step that fails ends its sequence. In a block without ``--keep-going`` it also cancels the
other branches, and then the block is undone: its deferred commands run, and the VMs that its
commands created are deleted. Whatever happens, deferred commands run, the last one first.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from banger.batch.execute import Execution, execute
from banger.batch.expand import VALUE_MAX, is_code, pattern_error, seconds_of
from banger.batch.json_path import look_up
from banger.batch.plan import (
    Capturing,
    Command,
    Deferring,
    Expectation,
    Fork,
    Order,
    Pausing,
    Plan,
    Step,
    Value,
    Waiting,
    Wanted,
)
from banger.batch.problems import Place
from banger.batch.report import Outcome, Report
from banger.batch.signals import Interruptions
from banger.batch.undo import delete_marked, label, new_mark, unmark
from banger.commands.cancellation import Cancellation
from banger.commands.context import Context
from banger.kernel.errors import BangerError, Interrupted, UsageError

THREADS_MAX = 64
WAIT_TIMEOUT_S = 60.0
WAIT_EVERY_S = 1.0


class StepFailed(Exception):
    """Told already. ``code`` is what the whole run exits with."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


def run_plan(plan: Plan, context: Context, report: Report) -> int:
    """Returns the exit code: of the first command that failed, else of a deferred one."""
    with Interruptions() as interruptions:
        cancellation = Cancellation()
        means = _Means(context, report, interruptions, {})
        scope = _Scope(means, cancellation, None, beside_others=False)
        code, interrupted = 0, False
        try:
            with context.telling(cancellation.cancel), interruptions.cancelling(cancellation):
                scope.run(plan)
        except StepFailed as failed:
            code = failed.code
        except Interrupted:
            interrupted = True
        finally:
            deferred = scope.run_deferred()
    interruptions.obey()
    if interrupted:
        raise Interrupted
    return code or deferred


class _Means(msgspec.Struct, frozen=True):
    """What all parts of a run share. ``slots`` are the values captured so far."""

    context: Context
    report: Report
    interruptions: Interruptions
    slots: dict[int, str]


class _Scope:
    """A sequence of steps: the file, or one branch. What it made and deferred is kept here."""

    def __init__(
        self,
        means: _Means,
        cancellation: Cancellation,
        mark: str | None,
        *,
        beside_others: bool,
    ) -> None:
        """``mark`` is that of the VMs created here; None: nothing here is ever undone."""
        self.marks: set[str] = set()
        """Of the blocks within that have ended well."""
        self.deferred: list[Order] = []
        self._means = means
        self._context = means.context
        self._report = means.report
        self._cancellation = cancellation
        self._slots = means.slots
        self._mark = mark
        self._beside_others = beside_others

    def run(self, plan: Plan) -> None:
        """Raises `StepFailed`, or `Interrupted` when cancelled."""
        for step in plan:
            self._step(step)

    def _step(self, step: Step) -> None:
        match step:
            case Command(order):
                self._report.begun(order)
                outcome = self._execute(order, keep=self._beside_others)
                if outcome.complaint:
                    self._fail(order, outcome, outcome.complaint)
                self._report.done(order, outcome)
            case Deferring(order):
                self.deferred.append(order)
            case Pausing(seconds=seconds, at=at):
                order = Order(at, (seconds,))
                self._cancellation.sleep(self._seconds(order, seconds, 0))
            case Capturing():
                self._capture(step)
            case Expectation():
                self._expect(step)
            case Waiting():
                self._wait(step)
            case Fork():
                self._fork(step)

    def _execute(
        self, order: Order, *, keep: bool, timeout_s: float | None = None, quiet: bool = False
    ) -> Outcome:
        """``quiet``: what the command says is for us only."""
        execution = Execution(self._context, self._cancellation, keep, timeout_s, label(self._mark))
        try:
            outcome = execute(execution, order.fill(self._slots), json=self._report.json)
        except Interrupted:
            self._report.cancelled(order)
            raise
        if not quiet:
            self._report.show(outcome)
        return outcome

    def _fail(self, order: Order, outcome: Outcome, complaint: str) -> None:
        self._report.failed(order, outcome, complaint)
        raise StepFailed(outcome.code or 1)

    # --- forms of the language ---

    def _capture(self, step: Capturing) -> None:
        self._report.begun(step.order)
        outcome = self._execute(step.order, keep=True, quiet=True)
        self._report.show(msgspec.structs.replace(outcome, output=""))
        if outcome.complaint:
            self._fail(step.order, outcome, outcome.complaint)
        try:
            value = self._chosen(outcome, step.path)
        except BangerError as error:
            self._fail(step.order, outcome, str(error))
            raise
        self._slots[step.slot] = value
        self._report.done(step.order, outcome, value=value)

    def _chosen(self, outcome: Outcome, path: Value | None) -> str:
        if path is None:
            value = outcome.output.rstrip("\n")
        else:
            try:
                document = msgspec.json.decode(outcome.output)
            except msgspec.MsgspecError as error:
                raise UsageError(f"its output is no JSON document: {error}") from error
            value = look_up(document, path.fill(self._slots))
        if len(value) > VALUE_MAX:
            raise UsageError(
                f"a value of {len(value)} characters is more than the {VALUE_MAX} allowed"
            )
        return value

    def _expect(self, step: Expectation) -> None:
        self._report.begun(step.order)
        outcome = self._execute(step.order, keep=True, quiet=True)
        if complaint := self._differs(step.wanted, outcome):
            self._report.show(outcome)
            self._fail(step.order, outcome, complaint)
        self._report.done(step.order, outcome)

    def _wait(self, step: Waiting) -> None:
        timeout_s = self._seconds(step.order, step.timeout_s, WAIT_TIMEOUT_S)
        every_s = self._seconds(step.order, step.every_s, WAIT_EVERY_S)
        deadline = time.monotonic() + timeout_s
        self._report.begun(step.order)
        while True:
            left_s = max(deadline - time.monotonic(), 0.001)
            outcome = self._execute(step.order, keep=True, timeout_s=left_s, quiet=True)
            complaint = self._differs(step.wanted, outcome)
            if not complaint:
                self._report.done(step.order, outcome)
                return
            if isinstance(outcome.error, UsageError):
                self._fail(step.order, outcome, complaint)
            if time.monotonic() + every_s >= deadline:
                self._report.show(outcome)
                self._fail(step.order, outcome, f"not within {timeout_s:g} s: {complaint}")
            self._cancellation.sleep(every_s)

    def _differs(self, wanted: Wanted, outcome: Outcome) -> str:
        """How the outcome is not what was wanted; "" when it is."""
        code = "0" if wanted.code is None else wanted.code.fill(self._slots)
        if not is_code(code):
            return f"--code {code[:80]!r} is not a number from 0 to 255"
        if outcome.code != int(code):
            return outcome.complaint or f"exit code 0, not {int(code)}"
        for output in (value.fill(self._slots) for value in wanted.outputs):
            if output not in outcome.text:
                return f"its output has no {output[:200]!r}"
        for pattern in (value.fill(self._slots) for value in wanted.matches):
            if error := pattern_error(pattern):
                return f"--match is no regular expression: {error}"
            if not re.search(pattern, outcome.text, re.MULTILINE):
                return f"its output does not match {pattern[:200]!r}"
        return ""

    def _seconds(self, order: Order, value: Value | None, default: float) -> float:
        if value is None:
            return default
        text = value.fill(self._slots)
        seconds = seconds_of(text)
        if seconds is None:
            self._fail(order, Outcome(2, 0), f"{text[:80]!r} is not a number of seconds")
            raise AssertionError
        return seconds

    # --- blocks ---

    def _fork(self, fork: Fork) -> None:
        cancellation = Cancellation(self._cancellation)
        mark = self._mark if fork.keep_going else new_mark()
        branches = [
            _Scope(self._means, cancellation, mark, beside_others=True) for _ in fork.branches
        ]
        failures = _in_threads(
            [
                lambda scope=scope, plan=plan: scope.run(plan)  # type: ignore[misc]
                for scope, plan in zip(branches, fork.branches, strict=True)
            ],
            cancellation,
            keep_going=fork.keep_going,
        )
        cancellation.retire()
        marks = {mark for branch in branches for mark in branch.marks}
        if mark is not None:
            marks.add(mark)
        if failures and not fork.keep_going:
            self._undo(fork.at, branches, marks)
        else:
            for branch in branches:
                self.deferred += branch.deferred
            self._keep(marks)
        for failure in failures:
            raise failure

    def _keep(self, marks: set[str]) -> None:
        """A block has ended well; one around it may still be undone."""
        if self._mark is not None:
            self.marks |= marks
        elif marks:
            unmark(self._context, marks)

    def _undo(self, at: Place, branches: list[_Scope], marks: set[str]) -> None:
        undoing = _Thorough()
        for branch in reversed(branches):
            with undoing:
                branch.run_deferred()
        with undoing, self._means.interruptions.cancelling(None):
            delete_marked(self._context, self._report, at, marks)
        undoing.end()

    def run_deferred(self) -> int:
        """All deferred commands, the last one first; the code of the first that failed.

        Ctrl-C ends the one that runs, and the next one follows. What they say is kept and shown
        afterwards: output that nobody reads any more must not keep one from its end.
        """
        codes: list[int] = []
        thorough = _Thorough()
        while self.deferred:
            with thorough:
                codes.append(self._deferred(self.deferred.pop()))
        thorough.end()
        return next(filter(None, codes), 0)

    def _deferred(self, order: Order) -> int:
        cancellation = Cancellation()
        execution = Execution(self._context, cancellation, True)
        self._report.begun(order, deferred=True)
        try:
            with self._means.interruptions.cancelling(cancellation):
                outcome = execute(execution, order.fill(self._slots), json=self._report.json)
        except Interrupted:
            outcome = Outcome(Interrupted.exit_code, 0, error=Interrupted())
        self._report.show(outcome)
        if outcome.complaint:
            self._report.failed(order, outcome, outcome.complaint, deferred=True)
        else:
            self._report.done(order, outcome, deferred=True)
        return outcome.code


class _Thorough:
    """Each block under it is begun, whatever became of those before; ``end`` raises the first
    thing they raised."""

    def __init__(self) -> None:
        self._raised: BaseException | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self._raised = self._raised or error
        return True

    def end(self) -> None:
        if self._raised is not None:
            raise self._raised


def _in_threads(
    branches: list[Callable[[], None]], cancellation: Cancellation, *, keep_going: bool
) -> list[BaseException]:
    """Run all at once. What they raised: first what is no mere cancellation."""
    waiting = deque(branches)
    raised: list[BaseException] = []

    def work() -> None:
        while True:
            try:
                branch = waiting.popleft()
            except IndexError:
                return
            try:
                branch()
            except BaseException as error:
                raised.append(error)
                if not keep_going or not isinstance(error, StepFailed):
                    cancellation.cancel()

    threads = [threading.Thread(target=work) for _ in branches[:THREADS_MAX]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(raised, key=_weight)


def _weight(error: BaseException) -> int:
    """A fault of ours matters more than a failure, and that more than a cancellation."""
    if isinstance(error, Interrupted):
        return 2
    return 1 if isinstance(error, StepFailed) else 0
