"""Events: everyone gets them, nobody waits for the slow."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from banger.kernel.bus import Bus, Subscription
from banger.kernel.message import Event, Lost


class Tick(Event, frozen=True):
    number: int


def ticks(*numbers: int) -> list[Event]:
    return [Tick(number) for number in numbers]


async def take(subscription: Subscription, count: int) -> list[Event]:
    taken: list[Event] = []
    with trio.fail_after(1):
        while len(taken) < count:
            taken.append(await anext(subscription))
    return taken


async def test_every_subscriber_gets_every_event_in_order(autojump_clock: MockClock) -> None:
    bus = Bus()
    bus.publish(Tick(0))
    with bus.subscribe() as one, bus.subscribe() as other:
        for number in range(1, 101):
            bus.publish(Tick(number))
        assert await take(one, 100) == ticks(*range(1, 101))
        assert await take(other, 100) == ticks(*range(1, 101))


async def test_waiting_subscriber_is_woken(autojump_clock: MockClock) -> None:
    bus = Bus()
    seen: list[Event] = []

    async def listen(subscription: Subscription) -> None:
        async for event in subscription:
            seen.append(event)

    with bus.subscribe() as subscription:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, subscription)
            for number in range(3):
                await wait_all_tasks_blocked()
                assert seen == ticks(*range(number))
                bus.publish(Tick(number))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert seen == ticks(0, 1, 2)


async def test_slow_subscriber_loses_the_oldest_and_is_told(autojump_clock: MockClock) -> None:
    bus = Bus()
    with bus.subscribe(capacity=3) as slow, bus.subscribe() as quick:
        for number in range(10):
            bus.publish(Tick(number))
        assert await take(slow, 4) == [Lost(7), *ticks(7, 8, 9)]
        assert await take(quick, 10) == ticks(*range(10))

        for number in range(10, 14):
            bus.publish(Tick(number))
        assert await take(slow, 2) == [Lost(1), Tick(11)]
        bus.publish(Tick(14))
        assert await take(slow, 3) == ticks(12, 13, 14)


async def test_full_but_not_over_loses_nothing(autojump_clock: MockClock) -> None:
    bus = Bus()
    with bus.subscribe(capacity=3) as subscription:
        for number in range(3):
            bus.publish(Tick(number))
        assert await take(subscription, 3) == ticks(0, 1, 2)


async def test_cancelled_wait_loses_nothing(autojump_clock: MockClock) -> None:
    bus = Bus()
    with bus.subscribe() as subscription:
        with trio.move_on_after(1):
            await anext(subscription)
        bus.publish(Tick(1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(subscription)
        assert scope.cancelled_caught
        assert await take(subscription, 1) == ticks(1)


async def test_ended_subscription_gets_nothing_more(autojump_clock: MockClock) -> None:
    bus = Bus()
    with bus.subscribe() as subscription:
        pass
    bus.publish(Tick(1))
    with trio.move_on_after(1) as deadline:
        await anext(subscription)
    assert deadline.cancelled_caught
