"""The VMs of a fake daemon: what their requests do to them, without any guest."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from banger.kernel.errors import Conflict, NotFound, UsageError, VmmError
from banger.model.image import ImageView
from banger.model.requests.exec import Exec, ExecResult, Output
from banger.model.requests.files import ListDirectory
from banger.model.requests.forks import ForkOutcome, ForkVm
from banger.model.requests.images import ListImages
from banger.model.requests.plugins import GetInterface
from banger.model.requests.vms import CreateVm, DeleteVm, ListVms, SetVm, ShowVm, StartVm, StopVm
from banger.model.vm import Verb, VmState, VmView, guard
from tests.unit.command_line import NO_PLUGINS, view
from tests.unit.fake_daemon import GuestFiles

HELD_S = 20
"""At most; the test has failed then."""


def image(name: str) -> ImageView:
    return ImageView(
        name=name,
        id=f"{name}-1",
        recipe=name,
        distribution="",
        kernel_version="",
        built_at="",
        disk_bytes=1 << 30,
        allocated_bytes=0,
        vms=[],
        path="",
    )


class FakeVms:
    """``failing`` are names whose creation fails, ``held`` those whose creation lasts until
    ``release`` is set; of these, ``stubborn`` ones are made also when nobody waits any more.
    ``said`` is what commands in guests write and come to."""

    def __init__(self) -> None:
        self.vms: dict[str, VmView] = {}
        self.failing: set[str] = set()
        self.held: set[str] = set()
        self.stubborn: set[str] = set()
        self.release = threading.Event()
        self.holding = threading.Semaphore(0)
        """Released once for each creation that is held."""
        self.said: dict[str, tuple[str, int]] = {}
        self.images: set[str] = set()
        self.guest = GuestFiles()
        """What was copied into any of them."""
        self.log: list[str] = []
        self._ids = 0
        self._lock = threading.Lock()

    def answer(self, request: Any) -> Iterator[object]:
        match request:
            case GetInterface():
                yield NO_PLUGINS
            case ListVms():
                yield [self.vms[name] for name in sorted(self.vms)]
            case ListImages():
                yield [image(name) for name in sorted(self.images)]
            case ShowVm(name):
                yield self._found(name)
            case CreateVm():
                yield self._create(request)
            case ForkVm(name, new):
                self._found(name)
                made = [self._create(CreateVm(fork)) for fork in new]
                yield ForkOutcome(made, 1.0)
            case DeleteVm(name):
                self._found(name)
                self.log.append(f"delete {name}")
                del self.vms[name]
                yield None
            case StopVm(name):
                yield self._change(name, Verb.STOP, state=VmState.STOPPED)
            case StartVm(name):
                yield self._change(name, Verb.START, state=VmState.RUNNING)
            case SetVm(name):
                yield self._set(request)
            case ListDirectory(path=path):
                raise NotFound(f"{path}: no such directory")
            case Exec(name, argv):
                guard(name, self._found(name).state, Verb.EXEC)
                line = " ".join(argv)
                self.log.append(f"exec {name}: {line}")
                text, code = self.said.get(line, ("", 0))
                yield Output(text.encode())
                yield ExecResult(code, 0, False)
            case _:
                raise UsageError(f"not answered here: {request}")

    def _create(self, request: CreateVm) -> VmView:
        name = request.name or "made-up"
        if name in self.stubborn:
            labels = dict(request.labels)
            self.vms[name] = msgspec.structs.replace(view(name, VmState.CREATING), labels=labels)
        if name in self.held:
            self.holding.release()
            assert self.release.wait(HELD_S), name
            self.vms.pop(name, None)
        with self._lock:
            if name in self.vms:
                raise Conflict(f"VM {name!r} exists already")
            if name in self.failing:
                raise VmmError(f"VM {name!r} can't be made")
            self._ids += 1
            self.log.append(f"create {name}")
            self.vms[name] = msgspec.structs.replace(
                view(name, VmState.RUNNING if request.start else VmState.STOPPED),
                id=f"{self._ids:032x}",
                image=request.image or "debian",
                vcpus=request.vcpus or 1,
                memory_mib=request.memory_mib or 256,
                disk_bytes=request.disk_bytes or 4 << 30,
                labels=dict(request.labels),
                options=dict(request.options),
            )
            return self.vms[name]

    def _set(self, request: SetVm) -> VmView:
        view = self._found(request.name)
        labels = {**view.labels, **request.labels}
        shape = {
            "vcpus": request.vcpus,
            "memory_mib": request.memory_mib,
            "disk_bytes": request.disk_bytes,
        }
        given = {field: value for field, value in shape.items() if value is not None}
        if given and view.state is not VmState.STOPPED:
            raise Conflict(f"the shape of VM {request.name!r} is changed while it is stopped")
        return self._change(
            request.name,
            Verb.SET,
            labels={key: value for key, value in labels.items() if value is not None},
            options={**view.options, **request.options},
            **given,
        )

    def _change(self, name: str, verb: Verb, **fields: Any) -> VmView:
        view = self._found(name)
        guard(name, view.state, verb)
        self.log.append(f"{verb} {name}")
        self.vms[name] = msgspec.structs.replace(view, **fields)
        return self.vms[name]

    def _found(self, name: str) -> VmView:
        if name not in self.vms:
            raise NotFound(f"there is no VM {name!r}")
        return self.vms[name]
