"""Running checks: each is bounded, whatever it does; repairs; refusals before a start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from banger.capabilities.check import Check
from banger.doctor.run import AT_ONCE, OwnedCheck, refuse_unless_ready, run_checks
from banger.kernel.errors import HostNotReady, NotFound
from banger.model.finding import Finding, Level
from banger.model.vm import Verb

START = frozenset({Verb.START})


def finding(name: str, level: Level = Level.OK, summary: str = "said") -> Finding:
    return Finding(name, level, summary, "do this" if level is not Level.OK else "", fixable=True)


def check_that(name: str, result: object, before: frozenset[Verb] = frozenset()) -> OwnedCheck:
    """Returns the result, or raises it."""

    async def run() -> Any:
        if isinstance(result, BaseException):
            raise result
        return result

    return OwnedCheck(Check(name, run, before))


def hanging(name: str, before: frozenset[Verb] = frozenset()) -> OwnedCheck:
    async def run() -> Sequence[Finding]:
        await trio.sleep_forever()
        raise AssertionError

    return OwnedCheck(Check(name, run, before), "slowpoke")


async def test_the_order_is_theirs(autojump_clock: MockClock) -> None:
    def after(name: str, seconds: float) -> OwnedCheck:
        async def run() -> Sequence[Finding]:
            await trio.sleep(seconds)
            return [finding(name, summary="1"), finding(name, summary="2")]

        return OwnedCheck(Check(name, run))

    found = await run_checks([after("a", 3), after("b", 1), after("c", 2)], fix=False)
    assert [(f.check, f.summary) for f in found] == [(n, s) for n in "abc" for s in "12"]


async def test_all_at_once_but_not_too_many(autojump_clock: MockClock) -> None:
    running, most = 0, 0

    async def run() -> Sequence[Finding]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1
        return [finding("x")]

    begun = trio.current_time()
    await run_checks([OwnedCheck(Check("x", run))] * (AT_ONCE + 1), fix=False)
    assert most == AT_ONCE
    assert trio.current_time() - begun == 2


async def test_a_check_that_hangs_is_a_finding(autojump_clock: MockClock) -> None:
    begun = trio.current_time()
    found = await run_checks([hanging("dns"), check_that("b", [finding("b")])], fix=False)
    assert trio.current_time() - begun == 10
    assert [f.level for f in found] == [Level.FAILED, Level.OK]
    assert "slowpoke" in found[0].summary
    assert "longer than 10 s" in found[0].summary
    assert found[0].check == "dns"


@pytest.mark.parametrize(
    "result", [ValueError("broken"), SystemExit(3), None, [1], [("a", "b")], "text"]
)
async def test_a_check_that_misbehaves_is_a_finding(result: object) -> None:
    found = await run_checks([check_that("bad", result), check_that("b", [])], fix=True)
    assert [(f.check, f.level) for f in found] == [("bad", Level.FAILED), ("b", Level.OK)]
    assert "check 'bad'" in found[0].summary


async def test_findings_of_the_wrong_types_do_not_get_through() -> None:
    wrong = Finding("x", "terrible", "?")  # type: ignore[arg-type]
    (found,) = await run_checks([check_that("x", [wrong])], fix=False)
    assert found.level is Level.FAILED
    assert "returned no findings" in found.summary


async def test_a_declared_error_is_a_finding_with_its_hint() -> None:
    (found,) = await run_checks([check_that("x", NotFound("no x", hint="make it"))], fix=False)
    assert found == Finding("x", Level.FAILED, "no x", "make it")


class Repairable:
    """A check that finds something until it is repaired."""

    def __init__(self, name: str, log: list[str], level: Level = Level.WARNING) -> None:
        self.name, self.log, self.level = name, log, level
        self.error: Exception | None = None

    async def run(self) -> Sequence[Finding]:
        self.log.append(f"run {self.name}")
        return [finding(self.name, self.level)]

    async def fix(self) -> str:
        self.log.append(f"fix {self.name}")
        if self.error is not None:
            raise self.error
        self.level = Level.OK
        return f"mended {self.name}"

    @property
    def owned(self) -> OwnedCheck:
        return OwnedCheck(Check(self.name, self.run, fix=self.fix))


async def test_repairs_come_one_after_the_other_in_their_order() -> None:
    log: list[str] = []
    checks = [Repairable(name, log).owned for name in "abc"]
    found = await run_checks(checks, fix=True)
    assert log[3:] == [f"{what} {name}" for name in "abc" for what in ("fix", "run")]
    assert [(f.level, f.fixed) for f in found] == [(Level.OK, f"mended {n}") for n in "abc"]


async def test_nothing_is_repaired_unasked() -> None:
    log: list[str] = []
    (found,) = await run_checks([Repairable("a", log).owned], fix=False)
    assert log == ["run a"]
    assert found.fixable
    assert found.fixed == ""


async def test_what_is_well_is_not_repaired() -> None:
    log: list[str] = []
    await run_checks([Repairable("a", log, Level.OK).owned], fix=True)
    assert log == ["run a"]


async def test_a_repair_that_fails() -> None:
    broken = Repairable("a", [])
    broken.error = OSError("no way")
    found = await run_checks([broken.owned], fix=True)
    assert [f.level for f in found] == [Level.WARNING, Level.FAILED]
    assert "no way" in found[1].summary


async def test_a_start_is_refused_with_the_first_thing_that_fails() -> None:
    checks = [
        check_that("a", [finding("a", Level.WARNING)], START),
        check_that("b", [Finding("b", Level.FAILED, "no b", "get b")], START),
        check_that("c", [Finding("c", Level.FAILED, "no c", "get c")], START),
    ]
    with pytest.raises(HostNotReady) as caught:
        await refuse_unless_ready(checks, Verb.START)
    assert (caught.value.message, caught.value.hint) == ("no b", "get b")


async def test_an_error_that_is_declared_refuses_too() -> None:
    checks = [check_that("a", NotFound("no a", hint="get a"), START)]
    with pytest.raises(HostNotReady, match="no a"):
        await refuse_unless_ready(checks, Verb.START)


async def test_only_the_checks_before_the_verb_are_run() -> None:
    failing = [Finding("a", Level.FAILED, "no", "do")]
    await refuse_unless_ready([check_that("a", failing)], Verb.START)
    await refuse_unless_ready([check_that("a", failing, START)], Verb.STOP)


async def test_a_broken_check_refuses_nobody(autojump_clock: MockClock) -> None:
    begun = trio.current_time()
    checks = [
        check_that("raises", ValueError("broken"), START),
        check_that("exits", SystemExit(1), START),
        hanging("hangs", START),
        check_that("nothing", None, START),
    ]
    await refuse_unless_ready(checks, Verb.START)
    assert trio.current_time() - begun == 2
    with pytest.raises(HostNotReady, match="no z"):
        last = check_that("z", [Finding("z", Level.FAILED, "no z", "")], START)
        await refuse_unless_ready([*checks, last], Verb.START)


async def test_a_cancelled_run_is_cancelled(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await run_checks([hanging("a")], fix=False)
    assert scope.cancelled_caught
