"""Hooks: their order, what fails an operation, what is undone, who is turned off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from banger.capabilities import HOOKS, Capability, Conflict, Options, Step, Vm
from banger.capabilities.capability import AnyCapability, overrides
from banger.capabilities.hooks import Hooks, Undo, undo_all
from banger.kernel.errors import HostNotReady
from tests.unit.capability_samples import A_VM, Plain, named, registry

Hook = Callable[..., Awaitable[None]]


def telling(log: list[str], name: str, **attributes: Any) -> type[AnyCapability]:
    """Says of each hook when it begins and when it ends."""

    async def prepare(self: object, vm: Vm, options: Options, step: Step) -> None:
        async def undo() -> None:
            log.append(f"undo {name}")

        step.undo(undo)
        log.append(f"begin {name}")
        await trio.sleep(1)
        log.append(f"end {name}")

    async def stopped(self: object, vm: Vm, options: Options, step: Step) -> None:
        log.append(f"stopped {name}")

    return named(name, prepare=prepare, stopped=stopped, **attributes)


def failing(name: str, error: BaseException, **attributes: Any) -> type[AnyCapability]:
    async def hook(self: object, *_: object) -> None:
        await trio.sleep(0.5)
        raise error

    return named(
        name, prepare=hook, stopped=hook, stopping=hook, deleted=hook, adopted=hook, **attributes
    )


def hooks(*capabilities: type[AnyCapability]) -> Hooks:
    return Hooks(registry(*capabilities), lambda *_: None)


async def test_independent_hooks_run_at_once(autojump_clock: trio.testing.MockClock) -> None:
    log: list[str] = []
    await hooks(telling(log, "a"), telling(log, "b")).prepare(A_VM, {}, [])
    assert sorted(log[:2]) == ["begin a", "begin b"]
    assert trio.current_time() < 1.5


async def test_dependencies_run_first_and_stop_last(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []
    both = hooks(telling(log, "a", after=("b", "absent")), telling(log, "b"))
    await both.prepare(A_VM, {}, [])
    assert log == ["begin b", "end b", "begin a", "end a"]
    log.clear()
    await both.stopped(A_VM, {})
    assert log == ["stopped a", "stopped b"]


async def test_a_refusal_undoes_the_others_and_turns_nobody_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[str] = []
    undo: list[Undo] = []
    both = registry(telling(log, "a"), failing("b", Conflict("port 80 is taken")))
    with pytest.raises(Conflict, match="port 80"):
        await Hooks(both, lambda *_: None).prepare(A_VM, {}, undo)
    await undo_all(undo)
    assert log == ["begin a", "undo a"]
    assert set(both.active) == {"a", "b"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError("oops"), "raised ValueError"), (SystemExit(2), r"called sys.exit\(2\)")],
)
async def test_a_bug_fails_the_operation_and_turns_its_owner_off(
    autojump_clock: trio.testing.MockClock, error: BaseException, reason: str
) -> None:
    both = registry(named("good"), failing("bad", error))
    disabled: list[str] = []
    both.on_disabled = lambda name, why: disabled.append(f"{name}: {why}")
    with pytest.raises(
        HostNotReady, match=f"'bad' is off from now on: its hook 'prepare' {reason}"
    ):
        await Hooks(both, lambda *_: None).prepare(A_VM, {}, [])
    assert set(both.active) == {"good"}
    assert len(disabled) == 1
    await Hooks(both, lambda *_: None).prepare(A_VM, {}, [])


async def test_a_hook_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    async def forever(self: object, *_: object) -> None:
        await trio.sleep_forever()

    slow = registry(named("slow", prepare=forever, deadline_s=3))
    with pytest.raises(HostNotReady, match="took longer than 3 s"):
        await Hooks(slow, lambda *_: None).prepare(A_VM, {}, [])
    assert not slow.active


@pytest.mark.parametrize("hook", ["stopping", "stopped", "deleted", "adopted"])
@pytest.mark.parametrize("error", [Conflict("no"), ValueError("oops")])
async def test_an_ending_is_not_held_up(
    autojump_clock: trio.testing.MockClock, hook: str, error: Exception
) -> None:
    log: list[str] = []
    after = () if hook == "adopted" else ("good",)
    bad = failing("bad", error, after=after)

    async def good(self: object, *_: object) -> None:
        log.append("good")

    good_hook: dict[str, Any] = {hook: good}
    both = registry(bad, named("good", after=() if after else ("bad",), **good_hook))
    await getattr(Hooks(both, lambda *_: None), hook)(A_VM, {})
    assert log == ["good"]
    assert ("bad" in both.active) is isinstance(error, Conflict)


async def test_an_undo_that_fails_does_not_keep_the_others(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []

    async def good() -> None:
        log.append("good")

    async def bad() -> None:
        raise ValueError("oops")

    await undo_all([good, bad, trio.sleep_forever])
    assert log == ["good"]
    assert caplog.text.count("an undo step of a capability failed") == 2


class Counter(Plain):
    """Counts what ``changed`` is told."""

    async def changed(self, vm: Vm, before: Any, options: Any, step: Step) -> None:
        step.progress(f"{before.level} to {options.level}")


class Level(Options, frozen=True):
    level: int = 0


async def test_changed_is_called_only_where_options_differ() -> None:
    told: list[tuple[str, str, str]] = []
    found = registry(
        named("a", Counter, options=Level),
        named("b", Counter, options=Level),
    )
    run = Hooks(found, lambda *what: told.append(what))
    await run.changed(A_VM, {"a": {"level": 1}}, {"a": {"level": 2}, "b": {"level": 0}}, [])
    assert told == [("a", "changed", "1 to 2")]


async def test_contributions_that_differ_name_both() -> None:
    def says(text: str) -> Callable[..., None]:
        return lambda self, vm, options, guest: guest.file("/etc/motd", text)

    both = hooks(named("a", contribute=says("one")), named("b", contribute=says("two")))
    with pytest.raises(Conflict, match="capabilities 'a' and 'b' differ on the guest's file"):
        both.contribute(A_VM, {})
    alike = hooks(named("a", contribute=says("one")), named("b", contribute=says("one")))
    assert [file.data for file in alike.contribute(A_VM, {}).config.files] == [b"one"]


async def test_a_contribution_that_raises_turns_its_owner_off() -> None:
    def broken(self: object, *_: object) -> None:
        raise ZeroDivisionError

    found = registry(named("bad", contribute=broken))
    with pytest.raises(HostNotReady, match="its hook 'contribute' raised ZeroDivisionError"):
        Hooks(found, lambda *_: None).contribute(A_VM, {})
    assert not found.active


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_does_nothing_by_itself_and_can_be_overridden(hook: str) -> None:
    assert not overrides(Plain, hook)
    own: dict[str, Any] = {hook: lambda self: None}
    assert overrides(named("a", **own), hook)
    assert (getattr(Capability, hook).__doc__ or "").strip().endswith(".")
