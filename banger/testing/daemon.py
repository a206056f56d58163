"""The daemon as far as capabilities go: a registry, hosts, VMs, and services that really run."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import trio
import trio.testing

from banger.capabilities.capability import AnyCapability
from banger.capabilities.host import Service
from banger.capabilities.loader import Installed, in_order
from banger.capabilities.registry import Registry
from banger.kernel.actor import Inbox, mailbox
from banger.kernel.errors import Conflict
from banger.testing.guest import FakeGuest
from banger.testing.host import FakeHost
from banger.testing.life import Life
from banger.testing.vm import fake_vm


class FakeDaemon:
    """``others`` are capabilities that are there beside the one under test.

    ``complaints`` has what the daemon would only have logged: a hook that raises where
    nothing can be refused, an undo step that fails. Use `serving` for capabilities that
    have services.
    """

    def __init__(
        self,
        capability: type[AnyCapability],
        directory: Path,
        *,
        settings: Mapping[str, object] | None = None,
        others: Sequence[type[AnyCapability]] = (),
    ) -> None:
        self.name = capability.name
        self.complaints: list[str] = []
        self.lives: dict[str, Life] = {}
        self.make_guest: Callable[[], FakeGuest] = FakeGuest
        """What the guests of new VMs are; a test may want them to answer something."""
        self._keeper = _Keep(self.complaints)
        self._watchers = 0
        self._created = 0
        self._directory = directory
        self._classes = {found.name: found for found in (capability, *others)}
        self.hosts = {
            name: FakeHost(found, directory, settings=settings if found is capability else None)
            for name, found in self._classes.items()
        }
        self._nursery: trio.Nursery | None = None
        self._scopes: list[trio.CancelScope] = []
        self.registry = self._make_registry()

    def _make_registry(self) -> Registry:
        installed = [Installed(name, "test", "0", found) for name, found in self._classes.items()]
        with self.watched():
            registry = Registry(in_order(installed), self.hosts.__getitem__)
        if self.name not in registry.active:
            reason = registry.reason(next(i for i in installed if i.name == self.name))
            raise AssertionError(f"capability {self.name!r} can't be made: {reason}")
        return registry

    @property
    def host(self) -> FakeHost:
        """That of the capability under test."""
        return self.hosts[self.name]

    @property
    def capability(self) -> AnyCapability:
        return self.registry.active[self.name]

    async def create(
        self,
        name: str = "box",
        options: Mapping[str, object] | None = None,
        *,
        start: bool = True,
        fail_after: str = "",
    ) -> Life:
        """A new VM; one that fails is forgotten. Raises `BangerError`."""
        if name in self.lives:
            raise Conflict(f"VM {name!r} exists already")
        self._created += 1
        image = self._directory / "image"
        image.mkdir(parents=True, exist_ok=True)
        vm = fake_vm(
            f"{name} {self._created}",
            directory=self._directory / "vms" / name,
            image_directory=image,
        )
        life = Life(self, msgspec.structs.replace(vm, name=name), self.make_guest())
        self._remember(name, life)
        try:
            await life.create(options, start=start, fail_after=fail_after)
        except BaseException:
            self.forget(name)
            raise
        return life

    def _remember(self, name: str, life: Life) -> None:
        self.lives[name] = life
        for host in self.hosts.values():
            host.known[name] = life

    def forget(self, name: str) -> None:
        del self.lives[name]
        for host in self.hosts.values():
            del host.known[name]

    # --- services ---

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The services run inside; one that crashes ends the body with its error."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._start_services()
                yield
                self._stop_services()
        except BaseExceptionGroup as group:
            raise _sole(group) from None
        finally:
            self._nursery = None

    def _start_services(self) -> None:
        assert self._nursery is not None
        for name, capability in self.registry.active.items():
            for service in capability.services():
                ref, inbox = mailbox(f"{name}/{service.name}")
                scope = trio.CancelScope()
                self.hosts[name].services[service.name] = ref
                self._scopes.append(scope)
                self._nursery.start_soon(self._serve, service, inbox, scope)

    async def _serve(self, service: Service, inbox: Inbox, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await service.make().run(inbox)
                self.complaints.append(
                    f"service {service.name!r} has ended: 'run' must go on as long as the daemon"
                )
        finally:
            inbox.close()

    def _stop_services(self) -> None:
        for scope in self._scopes:
            scope.cancel()
        self._scopes.clear()

    async def restart(self) -> None:
        """The daemon is started anew beneath running VMs: capabilities and services are made
        again, the firewall knows no rules, and `adopted` is called."""
        if self._nursery is not None:
            self._stop_services()
            await trio.testing.wait_all_tasks_blocked()
        for host in self.hosts.values():
            host.lose_firewall()
        self.registry = self._make_registry()
        if self._nursery is not None:
            self._start_services()
        for life in self.lives.values():
            await life.adopt()

    # --- what the daemon would log ---

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep the warnings of banger.capabilities as complaints."""
        logger = logging.getLogger("banger.capabilities")
        logger.addHandler(self._keeper)
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
            if self._watchers == 0:
                logger.removeHandler(self._keeper)


@asynccontextmanager
async def life(
    capability: type[AnyCapability],
    directory: Path,
    options: Mapping[str, object] | None = None,
    *,
    name: str = "box",
    settings: Mapping[str, object] | None = None,
    others: Sequence[type[AnyCapability]] = (),
) -> AsyncIterator[Life]:
    """A running VM, with the capability's services; after the body it is deleted.

    ``options`` and ``settings`` are the capability's, by field and bare name. Raises
    AssertionError at the end for what the daemon would have logged as a fault.
    """
    daemon = FakeDaemon(capability, directory, settings=settings, others=others)
    async with daemon.serving():
        vm = await daemon.create(name, options)
        yield vm
        for each in list(daemon.lives.values()):
            await each.delete()
        assert not daemon.complaints, "\n".join(daemon.complaints)


class _Keep(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        cause = f": {record.exc_info[1]}" if record.exc_info else ""
        self._lines.append(record.getMessage() + cause)


def _sole(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What was raised inside, when it is one thing; nurseries wrap it."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = found.exceptions[0]
    return found
