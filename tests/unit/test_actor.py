"""Asking an actor: whatever becomes of it, the asker hears of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from banger.kernel.actor import (
    Envelope,
    Inbox,
    Ref,
    cancelled_when_abandoned,
    mailbox,
    sole_declared_error,
)
from banger.kernel.errors import ActorDied, ActorStopped, BangerError, Busy, NotFound
from banger.kernel.message import Request
from tests.unit.nursery import nursery_within


class Double(Request[int], frozen=True):
    number: int


Body = Callable[[Envelope[int]], Awaitable[None]]


async def handle_all(inbox: Inbox, body: Body) -> None:
    async for envelope in inbox:
        with envelope:
            await body(envelope)


async def double(envelope: Envelope[int]) -> None:
    envelope.reply(envelope.request.number * 2)


async def in_nursery(error: Exception) -> None:
    """Raise the error the way a child task of a handler does: in a group."""

    async def fail() -> None:
        raise error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(fail)


async def beside_cancellation(error: Exception) -> None:
    """Raise the error from one task while another one ends by the cancellation of both."""

    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(fail_at_the_end)


async def test_reply_reaches_the_asker(autojump_clock: MockClock) -> None:
    ref, inbox = mailbox("doubler")
    async with nursery_within() as nursery:
        nursery.start_soon(handle_all, inbox, double)
        with trio.fail_after(1):
            assert await ref.ask(Double(21)) == 42
        nursery.cancel_scope.cancel()


async def test_requests_are_taken_in_the_order_they_were_asked(autojump_clock: MockClock) -> None:
    ref, inbox = mailbox("doubler")
    seen: list[int] = []

    async def note(envelope: Envelope[int]) -> None:
        seen.append(envelope.request.number)
        envelope.reply(0)

    async with nursery_within() as nursery:
        for number in range(20):
            nursery.start_soon(ref.ask, Double(number))
            await wait_all_tasks_blocked()
        nursery.start_soon(handle_all, inbox, note)
        await wait_all_tasks_blocked()
        assert seen == list(range(20))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("wrap", ["plain", "nursery", "two nurseries"])
async def test_declared_error_goes_to_the_asker_and_the_actor_goes_on(
    wrap: str, autojump_clock: MockClock
) -> None:
    ref, inbox = mailbox("doubler")
    error = NotFound("no 13", hint="ask for another")

    async def refuse(envelope: Envelope[int]) -> None:
        if envelope.request.number != 13:
            await double(envelope)
        elif wrap == "plain":
            raise error
        elif wrap == "nursery":
            await in_nursery(error)
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(in_nursery, error)

    async with nursery_within() as nursery:
        nursery.start_soon(handle_all, inbox, refuse)
        with trio.fail_after(1):
            with pytest.raises(NotFound) as caught:
                await ref.ask(Double(13))
            assert caught.value is error
            assert await ref.ask(Double(1)) == 2
        nursery.cancel_scope.cancel()


async def test_declared_error_beside_a_cancellation_goes_to_the_asker(
    autojump_clock: MockClock,
) -> None:
    ref, inbox = mailbox("doubler")
    scope = trio.CancelScope()

    async def refuse(_: Envelope[int]) -> None:
        await beside_cancellation(Busy("later"))

    async def run() -> None:
        with scope:
            await handle_all(inbox, refuse)

    async with nursery_within() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(cancel_when_idle, scope)
        with trio.fail_after(1), pytest.raises(Busy):
            await ref.ask(Double(1))


@pytest.mark.parametrize("wrap", ["plain", "nursery", "with a declared one"])
async def test_bug_is_death_for_the_asker_and_goes_on(wrap: str, autojump_clock: MockClock) -> None:
    ref, inbox = mailbox("doubler")

    async def crash(_: Envelope[int]) -> None:
        if wrap == "plain":
            raise ZeroDivisionError("oops")
        if wrap == "nursery":
            await in_nursery(ZeroDivisionError("oops"))
        raise ExceptionGroup("both", [NotFound("no"), ZeroDivisionError("oops")])

    escaped: list[Exception] = []

    async def run() -> None:
        try:
            await handle_all(inbox, crash)
        except Exception as error:
            escaped.append(error)

    async with nursery_within() as nursery:
        nursery.start_soon(run)
        with trio.fail_after(1), pytest.raises(ActorDied, match=r"doubler crashed on Double.*oops"):
            await ref.ask(Double(1))
    assert len(escaped) == 1
    assert not isinstance(escaped[0], BangerError)


async def test_bug_beside_a_cancellation_leaves_no_asker_hanging(autojump_clock: MockClock) -> None:
    ref, inbox = mailbox("doubler")
    scope = trio.CancelScope()

    async def crash(_: Envelope[int]) -> None:
        await beside_cancellation(ZeroDivisionError())

    async def run() -> None:
        with pytest.RaisesGroup(ZeroDivisionError), scope:
            await handle_all(inbox, crash)

    async with nursery_within() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(cancel_when_idle, scope)
        with trio.fail_after(1), pytest.raises(ActorStopped):
            await ref.ask(Double(1))


async def test_cancelled_actor_is_stopped_for_its_asker(autojump_clock: MockClock) -> None:
    ref, inbox = mailbox("sleeper")

    async def sleep(_: Envelope[int]) -> None:
        await trio.sleep_forever()

    async with nursery_within() as asking, trio.open_nursery() as nursery:
        nursery.start_soon(handle_all, inbox, sleep)
        asking.start_soon(expect_stopped, ref, "stopped before it answered")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_closing_the_mailbox_frees_everyone_who_waits(autojump_clock: MockClock) -> None:
    ref, inbox = mailbox("silent")
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(expect_stopped, ref, "not running")
            await wait_all_tasks_blocked()
            inbox.close()
        await expect_stopped(ref, "silent is not running")


async def test_actor_that_closes_its_mailbox_ends_its_loop(autojump_clock: MockClock) -> None:
    ref, inbox = mailbox("retiring")

    async def retire(envelope: Envelope[int]) -> None:
        inbox.close()
        await double(envelope)

    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle_all, inbox, retire)
            assert await ref.ask(Double(1)) == 2


async def test_body_that_forgets_to_reply_leaves_no_asker_hanging(
    autojump_clock: MockClock,
) -> None:
    ref, inbox = mailbox("forgetful")

    async def forget(_: Envelope[int]) -> None:
        return

    async with nursery_within() as nursery:
        nursery.start_soon(handle_all, inbox, forget)
        with trio.fail_after(1):
            await expect_stopped(ref, "forgetful stopped before it answered")
        nursery.cancel_scope.cancel()


async def test_crash_after_the_reply_is_no_matter_of_the_asker(autojump_clock: MockClock) -> None:
    ref, inbox = mailbox("doubler")

    async def crash(envelope: Envelope[int]) -> None:
        await double(envelope)
        raise NotFound("too late to be an answer")

    async def run() -> None:
        with pytest.raises(NotFound):
            await handle_all(inbox, crash)

    async with nursery_within() as nursery:
        nursery.start_soon(run)
        with trio.fail_after(1):
            assert await ref.ask(Double(4)) == 8


async def test_second_reply_is_a_bug() -> None:
    envelope = Envelope(Double(1), "doubler")
    envelope.reply(2)
    with pytest.raises(trio.ClosedResourceError):
        envelope.reply(2)
    assert await envelope.outcome() == 2


# --- askers that go away ---


async def test_request_abandoned_in_the_queue_is_never_seen(autojump_clock: MockClock) -> None:
    ref, inbox = mailbox("doubler")
    seen: list[int] = []

    async def note(envelope: Envelope[int]) -> None:
        seen.append(envelope.request.number)
        envelope.reply(0)

    with trio.move_on_after(1):
        await ref.ask(Double(1))
    async with nursery_within() as nursery:
        nursery.start_soon(handle_all, inbox, note)
        await ref.ask(Double(2))
        nursery.cancel_scope.cancel()
    assert seen == [2]


@pytest.mark.parametrize("answer", ["reply", "declared error"])
async def test_answer_to_an_asker_that_left_is_dropped(
    answer: str, autojump_clock: MockClock
) -> None:
    ref, inbox = mailbox("slow")
    worked = trio.Event()

    async def slow(envelope: Envelope[int]) -> None:
        if envelope.request.number == 1:
            await envelope.abandoned.wait()
            worked.set()
            if answer == "declared error":
                raise NotFound("nobody hears this")
        await double(envelope)

    async with nursery_within() as nursery:
        nursery.start_soon(handle_all, inbox, slow)
        with trio.move_on_after(1) as deadline:
            await ref.ask(Double(1))
        assert deadline.cancelled_caught
        with trio.fail_after(1):
            await worked.wait()
            assert await ref.ask(Double(2)) == 4
        nursery.cancel_scope.cancel()


async def test_work_ends_when_its_asker_leaves(autojump_clock: MockClock) -> None:
    ref, inbox = mailbox("dutiful")
    history: list[str] = []

    async def work(envelope: Envelope[int]) -> None:
        async with cancelled_when_abandoned(envelope):
            if envelope.request.number == 1:
                try:
                    await trio.sleep_forever()
                finally:
                    history.append("cancelled")
            await double(envelope)
        history.append("abandoned" if envelope.abandoned.is_set() else "answered")

    async with nursery_within() as nursery:
        nursery.start_soon(handle_all, inbox, work)
        with trio.move_on_after(1):
            await ref.ask(Double(1))
        with trio.fail_after(1):
            assert await ref.ask(Double(2)) == 4
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert history == ["cancelled", "abandoned", "answered"]


async def test_asker_that_got_its_reply_has_not_abandoned(autojump_clock: MockClock) -> None:
    ref, inbox = mailbox("tidy")
    tidied = trio.Event()

    async def reply_then_tidy(envelope: Envelope[int]) -> None:
        async with cancelled_when_abandoned(envelope):
            await double(envelope)
            await trio.sleep(5)
            tidied.set()

    async with nursery_within() as nursery:
        nursery.start_soon(handle_all, inbox, reply_then_tidy)
        assert await ref.ask(Double(2)) == 4
        with trio.fail_after(6):
            await tidied.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("error", [NotFound("no"), ZeroDivisionError("oops")])
async def test_errors_pass_through_work_that_can_be_abandoned(
    error: Exception, autojump_clock: MockClock
) -> None:
    ref, inbox = mailbox("failing")

    async def fail(envelope: Envelope[int]) -> None:
        async with cancelled_when_abandoned(envelope):
            raise error

    async def run() -> None:
        with suppress(ExceptionGroup):
            await handle_all(inbox, fail)

    async with nursery_within() as nursery:
        nursery.start_soon(run)
        expected = NotFound if isinstance(error, NotFound) else ActorDied
        with trio.fail_after(1), pytest.raises(expected):
            await ref.ask(Double(1))
        nursery.cancel_scope.cancel()


# --- telling declared errors from bugs ---


def test_only_a_declared_error_alone_is_declared() -> None:
    declared, bug = NotFound("no"), ZeroDivisionError()
    assert sole_declared_error(declared) is declared
    assert sole_declared_error(ExceptionGroup("", [ExceptionGroup("", [declared])])) is declared
    assert sole_declared_error(None) is None
    assert sole_declared_error(bug) is None
    assert sole_declared_error(ExceptionGroup("", [bug])) is None
    assert sole_declared_error(ExceptionGroup("", [declared, bug])) is None
    assert sole_declared_error(BaseExceptionGroup("", [declared, KeyboardInterrupt()])) is None


async def cancel_when_idle(scope: trio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def expect_stopped(ref: Ref, message: str) -> None:
    with pytest.raises(ActorStopped, match=message) as caught:
        await ref.ask(Double(1))
    assert not isinstance(caught.value, ActorDied)
