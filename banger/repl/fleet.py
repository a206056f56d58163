"""What the shell knows of VMs and images, kept up to date by the daemon's events."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

import msgspec

from banger.cli.complete import Candidate
from banger.cli.names import of_images, of_vms
from banger.client.connection import Connection
from banger.client.launch import connect
from banger.commands.session import Session
from banger.kernel.errors import BangerError
from banger.kernel.message import Lost
from banger.model.command import Completion
from banger.model.event_text import Weight, describe
from banger.model.events import (
    BuildProgress,
    CapabilityDisabled,
    Recorded,
    VmGone,
    VmStateChanged,
)
from banger.model.image import ImageView
from banger.model.requests.events import ReadEvents
from banger.model.requests.images import ListImages
from banger.model.requests.plugins import Interface, ListPlugins, PluginView
from banger.model.requests.vms import ListVms, ShowVm
from banger.model.text import printable
from banger.model.vm import VmState, VmView

RETRY_S = 0.4
"""While no daemon runs, how often to look for one."""
ALIVE = frozenset({VmState.STARTING, VmState.RUNNING, VmState.PAUSED, VmState.STOPPING})
NO_INTERFACE = Interface([], [], [])


class Fleet:
    """Read by the shell, written by one thread of its own; each is replaced as a whole."""

    def __init__(self, session: Session, changed: Callable[[], None]) -> None:
        """``changed`` is called from the thread whenever there is something else to see."""
        self.vms: dict[str, VmView] = {}
        self.images: list[ImageView] = []
        self.plugins: list[PluginView] = []
        self.interface = NO_INTERFACE
        self.daemon_pid: int | None = None
        self.met = False
        """Whether there has been a daemon."""
        self.trouble: dict[str, str] = {}
        """What needs attention, by what it is about."""
        self._session = session
        self._changed = changed
        self._leaving = threading.Event()
        self._nudged = threading.Event()
        self._watch: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._leaving.set()
        self._nudged.set()
        watch = self._watch
        if watch is not None:
            watch.cancel()
        self._thread.join(5)

    def look_again(self) -> None:
        """A command has ended that may have started the daemon."""
        self._nudged.set()

    def look_at_images(self) -> None:
        """A command has ended that may have changed them; there are no events of that."""
        if self.daemon_pid is not None:
            threading.Thread(target=self._list_images, daemon=True).start()

    def _list_images(self) -> None:
        with contextlib.suppress(BangerError):
            connection = self._session.lease()
            try:
                self.images = connection.call(ListImages())
            finally:
                self._session.give_back(connection)

    @property
    def memory_mib(self) -> int:
        """Of all VMs that have a VMM."""
        return sum(view.memory_mib for view in self.vms.values() if view.state in ALIVE)

    @property
    def states(self) -> dict[VmState, int]:
        counts: dict[VmState, int] = {}
        for view in self.vms.values():
            counts[view.state] = counts.get(view.state, 0) + 1
        return counts

    def find_interface(self) -> Interface:
        """What plugins add, as far as it is known; nothing is asked."""
        return self.interface

    def named(self, kind: Completion) -> Iterable[Candidate]:
        match kind:
            case Completion.VM | Completion.LABEL | Completion.LABEL_KEY:
                return of_vms(list(self.vms.values()), kind)
            case Completion.IMAGE:
                return of_images(self.images)
            case Completion.PLUGIN | Completion.CAPABILITY:
                return [
                    Candidate(printable(view.name), printable(view.summary or view.reason))
                    for view in self.plugins
                    if kind is Completion.PLUGIN or view.kind == Completion.CAPABILITY
                ]
            case _:
                return []

    # --- the thread ---

    def _run(self) -> None:
        while not self._leaving.is_set():
            with contextlib.suppress(BangerError):  # it has gone, or is not for us
                self._follow()
            self.daemon_pid = None
            self._changed()
            if self.interface is NO_INTERFACE:
                # What a daemon would have: looking for plugins takes a while, once.
                with contextlib.suppress(BangerError):
                    self.interface = self._session.interface()
                    self._changed()
            self._nudged.wait(RETRY_S)
            self._nudged.clear()

    def _follow(self) -> None:
        """Until the daemon goes."""
        watch = connect(self._session.places)
        if watch is None:
            return
        asking = connect(self._session.places)
        if asking is None:
            watch.close()
            return
        with watch, asking:
            self._watch = watch
            watch.begin(ReadEvents(follow=True))
            self._learn(asking)
            self.daemon_pid, self.met = watch.hello.pid, True
            self._changed()
            while not self._leaving.is_set():
                message = watch.receive()
                self._take_all([message, *watch.received()], asking)
                self._changed()

    def _learn(self, asking: Connection) -> None:
        self.vms = {view.name: view for view in asking.call(ListVms())}
        self.images = asking.call(ListImages())
        self.plugins = asking.call(ListPlugins())
        self._session.forget_interface()
        self.interface = self._session.interface()
        self.trouble = {
            view.name: f"{view.name} is {view.state}: {printable(view.reason)}"
            for view in self.vms.values()
            if view.state in (VmState.CRASHED, VmState.FAILED)
        }

    def _take_all(self, messages: list[object], asking: Connection) -> None:
        """One look at each VM, however much has happened to it."""
        stale: set[str] = set()
        for message in messages:
            item = getattr(message, "item", None)
            if item is None:
                raise BangerError("the daemon ended its events")
            recorded = msgspec.msgpack.decode(item, type=Recorded)
            self._take(recorded, stale, asking)
        for name in stale:
            try:
                self.vms = {**self.vms, name: asking.call(ShowVm(name))}
            except BangerError:
                if not asking.usable:
                    raise
                self.vms = {key: view for key, view in self.vms.items() if key != name}

    def _take(self, recorded: Recorded, stale: set[str], asking: Connection) -> None:
        event = recorded.event
        match event:
            case Lost():
                self._learn(asking)
                return
            case VmStateChanged(vm):
                stale.add(vm)
                self.trouble.pop(vm, None)
            case VmGone(vm):
                stale.discard(vm)
                self.vms = {key: view for key, view in self.vms.items() if key != vm}
                self.trouble.pop(vm, None)
                return
            case BuildProgress():
                return
        said = describe(event)
        if said.weight is Weight.TROUBLE:
            about = event.capability if isinstance(event, CapabilityDisabled) else said.subject
            self.trouble = {**self.trouble, about: f"{said.subject}: {said.text}"}
