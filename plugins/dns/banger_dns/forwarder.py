"""Questions about everybody else's names: asked of the host's resolvers, answers kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from math import inf

import msgspec
import trio

from banger_dns.answers import Answer, Cache, Question, answer_from, failed
from banger_dns.errors import Malformed, UpstreamFailed
from banger_dns.loops import LoopWatch
from banger_dns.names import text_of
from banger_dns.rebinding import RebindingGuard
from banger_dns.resolvers import Resolver
from banger_dns.upstream import ask
from banger_dns.wire import Ede, Outcome, Rcode


class Patience(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long resolvers are waited for, in seconds. libc's clients give up after five."""

    head_start_s: float = 0.15
    """Before the next resolver is asked as well."""
    each_s: float = 2.0
    in_all_s: float = 4.0
    grudge_s: float = 30.0
    """How long one that kept silent is asked last."""


class _Flight:
    """A question under way. Others who ask the same wait for its landing."""

    def __init__(self) -> None:
        self.landed = trio.Event()
        self.suspected = trio.Event()
        self.answer: Answer | None = None


class Forwarder:
    """Asks the resolvers that *resolvers* names at the time, never this server itself.

    Equal questions at the same time are asked once. A resolver that is silent or fails leaves
    the word to the next; what all of them fail at is SERVFAIL. An answer that *guard*
    dislikes is REFUSED. Both come with an Extended DNS Error that says why.
    """

    def __init__(
        self,
        resolvers: Callable[[], Sequence[Resolver]],
        guard: RebindingGuard,
        cache: Cache,
        patience: Patience | None = None,
    ) -> None:
        self._resolvers = resolvers
        self._guard = guard
        self._cache = cache
        self._patience = patience or Patience()
        self._flights: dict[Question, _Flight] = {}
        self._grudges: dict[Resolver, float] = {}
        self._last_seen: tuple[Resolver, ...] = ()
        self._own: frozenset[Resolver] = frozenset()
        self.loops = LoopWatch()

    def never_ask(self, listeners: Iterable[tuple[str, int]]) -> None:
        """Name more addresses and ports that are this server itself."""
        self._own |= {Resolver(address, port) for address, port in listeners}

    def resolvers(self) -> tuple[Resolver, ...]:
        """Those to ask now, in order."""
        found = tuple(resolver for resolver in self._resolvers() if resolver not in self._own)
        if found != self._last_seen:
            # Another network may have other answers, such as behind a VPN.
            self._cache.clear()
            self._grudges.clear()
            self._last_seen = found
        return found

    def is_resolver(self, address: str) -> bool:
        return any(resolver.address == address for resolver in self._last_seen)

    def peek(self, question: Question, *, ad: bool) -> Outcome | None:
        """The reply when it is known already."""
        entry = self._cache.get(question)
        return None if entry is None else entry[0].outcome(entry[1], ad=ad)

    def suspect(self, question: Question) -> None:
        """Say that *question* came from where a loop would bring it from."""
        for do, cd in product((False, True), repeat=2):
            flight = self._flights.get(Question(question.labels, question.qtype, do, cd))
            if flight is not None:
                flight.suspected.set()

    async def resolve(self, question: Question, *, ad: bool) -> Outcome:
        """The reply to *question*, within `Patience.in_all_s`. Never raises for a resolver's sake.

        May be cancelled; another who waits for the same answer then asks again.
        """
        while True:
            known = self.peek(question, ad=ad)
            if known is not None:
                return known
            flight = self._flights.get(question)
            if flight is None:
                return (await self._fly(question)).outcome(0, ad=ad)
            await flight.landed.wait()
            if flight.answer is not None:
                return flight.answer.outcome(0, ad=ad)

    async def _fly(self, question: Question) -> Answer:
        resolvers = self.resolvers()
        if not resolvers:
            return _no_answer("the host has no DNS resolver to ask")
        flight = self._flights[question] = _Flight()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._probe_when_suspected, flight, resolvers)
                flight.answer = answer = await self._ask_all(question, resolvers)
                nursery.cancel_scope.cancel()
        finally:
            del self._flights[question]
            flight.landed.set()
        self._cache.put(question, answer)
        return answer

    async def _probe_when_suspected(self, flight: _Flight, resolvers: Sequence[Resolver]) -> None:
        await flight.suspected.wait()
        await self.loops.probe(resolvers)

    async def _ask_all(self, question: Question, resolvers: Sequence[Resolver]) -> Answer:
        now = trio.current_time()
        waiting = sorted(resolvers, key=lambda one: self._grudges.get(one, -inf) > now)
        failures: dict[Resolver, UpstreamFailed] = {}
        with trio.move_on_after(self._patience.in_all_s):
            while waiting:
                answer = await self._race(question, waiting, failures)
                if answer is not None:
                    return answer
                # A datagram may have been lost; a refusal will not change.
                waiting = [resolver for resolver in waiting if resolver not in failures]
        # What a resolver says itself tells more than that another was out of reach.
        for failure in sorted(failures.values(), key=lambda one: not one.answered):
            return failed(Rcode.SERVFAIL, failure.ede, failure.message)
        silent = " and ".join(str(resolver) for resolver in resolvers)
        return _no_answer(f"no answer from {silent}")

    async def _race(
        self,
        question: Question,
        resolvers: Sequence[Resolver],
        failures: dict[Resolver, UpstreamFailed],
    ) -> Answer | None:
        """Ask one after the other, each with a head start; the first answer wins."""
        answers: dict[Resolver, Answer] = {}

        async def run(resolver: Resolver, over: trio.Event) -> None:
            try:
                answer = await self._ask(resolver, question)
            except UpstreamFailed as error:
                failures[resolver] = error
            else:
                if answer is not None:
                    answers[resolver] = answer
                    nursery.cancel_scope.cancel()
            over.set()

        async with trio.open_nursery() as nursery:
            for resolver in resolvers:
                over = trio.Event()
                nursery.start_soon(run, resolver, over)
                with trio.move_on_after(self._patience.head_start_s):
                    await over.wait()
        for winner, answer in answers.items():
            self._grudges.pop(winner, None)
            for overtaken in resolvers[: resolvers.index(winner)]:
                if overtaken not in failures:
                    self._hold_against(overtaken)
            return answer
        return None

    async def _ask(self, resolver: Resolver, question: Question) -> Answer | None:
        """The answer of one resolver; None when it keeps silent."""
        if self.loops.loops(resolver):
            raise UpstreamFailed(
                f"a forwarding loop: {resolver} asks this server", ede=Ede.OTHER, answered=True
            )
        with trio.move_on_after(self._patience.each_s) as deadline, self.loops.guard(resolver):
            reply = await ask(resolver, question)
        if deadline.cancelled_caught:
            self._hold_against(resolver)
            return None
        try:
            private = self._guard.find(reply.records)
        except Malformed as error:
            raise UpstreamFailed(f"{resolver} sent a broken answer", ede=Ede.OTHER) from error
        if private is not None:
            text = f"{text_of(question.labels)} points to the private address {private}"
            return failed(Rcode.REFUSED, Ede.BLOCKED, text)
        return answer_from(reply, question)

    def _hold_against(self, resolver: Resolver) -> None:
        self._grudges[resolver] = trio.current_time() + self._patience.grudge_s


def _no_answer(text: str) -> Answer:
    return failed(Rcode.SERVFAIL, Ede.NO_REACHABLE_AUTHORITY, text)
