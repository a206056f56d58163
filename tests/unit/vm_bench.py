"""A fleet over a driver and a TAP pool that obey the test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import trio

from banger.actors.fleet import CreateVm, FindVm, Fleet, ListVms
from banger.actors.seed_shelf import Shelf, seed_store
from banger.actors.seeds import Seeds
from banger.actors.services import Services
from banger.actors.standby_pool import StandbyPool
from banger.actors.tap_pool import (
    AcquireAddress,
    AcquireTap,
    AddressLease,
    ReleaseAddress,
    ReleaseTap,
    TapLease,
)
from banger.capabilities import (
    API_VERSION,
    Capability,
    GuestContribution,
    Options,
    Step,
    Vm,
    option,
)
from banger.guest import agent
from banger.host import assets
from banger.host.image_files import image_store
from banger.host.paths import Paths
from banger.host.ram_file import RamFile
from banger.kernel.actor import Actor, Inbox, Ref
from banger.kernel.bus import Bus
from banger.kernel.errors import (
    BangerError,
    Conflict,
    VmmError,
)
from banger.kernel.message import Request
from banger.kernel.store import RecordStore
from banger.kernel.supervisor import Supervisor
from banger.model.fittings import Fittings
from banger.model.image import ImageRecord
from banger.model.machine import DiskFormat
from banger.model.network import Network
from banger.model.process import ProcessIdentity
from banger.model.vm import RECORD_VERSION, VmRecord, VmSpec, VmState, VmView
from banger.vmm.base import DiskSwitch, Machine, MachineEvent, MachinePlan, Traits
from tests.unit.capability_samples import registry
from tests.unit.nursery import nursery_within

NETWORK = Network("br-test", IPv4Interface("172.31.0.1/24"))
SPEC = VmSpec(image="debian", vcpus=1, memory_mib=256, disk_bytes=64 << 20)


WORK_BYTES = 64 << 20


class FakeMachine:
    """A VMM that lives until it is killed."""

    accelerator = "tcg"

    def __init__(self, identity: ProcessIdentity) -> None:
        self.identity = identity
        self.paused = False
        self.forks = False
        self.resized: dict[str, int] = {}
        self.refusal: BangerError | None = None
        self.ended = trio.Event()

    async def attend(
        self,
        on_event: Callable[[MachineEvent], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> bool:
        task_status.started()
        await self.ended.wait()
        return False

    async def dial(self, channel: int) -> trio.abc.Stream:
        raise OSError

    async def open_console(self) -> trio.abc.Stream:
        raise OSError

    async def booted(self) -> None:
        pass

    async def pause(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.paused = True

    async def resume(self) -> None:
        self.paused = False

    async def is_paused(self) -> bool:
        return self.paused

    async def save(self, file: int) -> None:
        raise VmmError("it can't be saved")

    async def snapshot(self, file: int, switches: Mapping[str, DiskSwitch]) -> float:
        if self.refusal is not None:
            raise self.refusal
        os.write(file, b"state")
        return 1.0

    async def may_fork(self) -> bool:
        return self.forks

    async def copy_base(self, ram: RamFile) -> None:
        ram.write(b"base", 0)

    async def fork(self, file: int, ram: RamFile, switches: Mapping[str, DiskSwitch]) -> float:
        if self.refusal is not None:
            raise self.refusal
        os.write(file, b"devices")
        ram.write(b"memory", 4)
        return 1.0

    async def drop_snapshot(self) -> None:
        pass

    async def fittings(self) -> Fittings:
        return Fittings(agent_ports=2, balloon=True)

    async def resize_disk(self, serial: str, size_bytes: int) -> None:
        self.resized[serial] = size_bytes

    async def press_power_button(self) -> None:
        raise VmmError("there is none")

    async def kill(self) -> None:
        self.ended.set()

    def close(self) -> None:
        pass


class FakeDriver:
    name = "fake"
    accelerator = "tcg"
    traits = Traits(disk_formats=(DiskFormat.OVERLAY,), agent_channels=2)

    def __init__(self) -> None:
        self.machines: list[FakeMachine] = []
        self.plans: list[MachinePlan] = []
        self.refusal: BangerError | None = None

    @property
    def running(self) -> list[FakeMachine]:
        return [machine for machine in self.machines if not machine.ended.is_set()]

    async def likeness(self, plan: MachinePlan) -> str:
        return self.name

    async def launch(self, plan: MachinePlan) -> Machine:
        if self.refusal is not None:
            raise self.refusal
        self.plans.append(plan)
        identity = ProcessIdentity(len(self.machines) + 1, 1, "this boot")
        self.machines.append(FakeMachine(identity))
        return self.machines[-1]

    async def adopt(self, identity: ProcessIdentity, runtime: Path) -> Machine | None:
        return next((m for m in self.running if m.identity == identity), None)

    async def find(self, machine_id: str) -> ProcessIdentity | None:
        return None

    async def forget(self, runtime: Path) -> None:
        pass


class FakeTaps(Actor):
    """``refusals`` are raised, one after another, when a TAP is given back."""

    name = "taps"

    def __init__(self) -> None:
        self.leased: set[str] = set()
        self.addresses: set[str] = set()
        self.refusals: list[BangerError] = []

    async def run(self, inbox: Inbox) -> None:
        async for envelope in inbox:
            with envelope:
                envelope.reply(self._answer(envelope.request))

    def _answer(self, request: Any) -> object:
        lease = AddressLease("02:fc:ac:1f:00:02", "172.31.0.2")
        if isinstance(request, AcquireAddress):
            self.addresses.add(request.vm_id)
            return lease
        if isinstance(request, AcquireTap):
            self.leased.add(request.vm_id)
            return TapLease("tap-x", lease.mac, lease.address, NETWORK)
        if isinstance(request, ReleaseTap) and request.vm_id in self.leased:
            if self.refusals:
                raise self.refusals.pop(0)
            self.leased.discard(request.vm_id)
        elif isinstance(request, ReleaseAddress):
            self.addresses.discard(request.vm_id)
        return None


class Level(Options, frozen=True):
    level: Annotated[int, option("How much.")] = 0


class Recorder(Capability[Level]):
    api_version = API_VERSION
    name = "recorder"
    summary = "Writes down what it is told."
    options = Level
    bench: ClassVar[Bench]

    def _tell(self, hook: str, seen: Vm, options: Level) -> None:
        self.bench.told.append(f"{hook} {seen.name} {options.level}")

    async def prepare(self, vm: Vm, options: Level, step: Step) -> None:
        assert vm.tap == "tap-x"
        self._tell("prepare", vm, options)

    def contribute(self, vm: Vm, options: Level, guest: GuestContribution) -> None:
        guest.hostname(vm.name)

    async def started(self, vm: Vm, options: Level, step: Step) -> None:
        self._tell("started", vm, options)

    async def changed(self, vm: Vm, before: Level, options: Level, step: Step) -> None:
        async def undo() -> None:
            self._tell("undo", vm, before)

        step.undo(undo)
        self._tell("changed", vm, options)
        if self.bench.refuse_changes:
            raise Conflict("not now")

    async def stopping(self, vm: Vm, options: Level, step: Step) -> None:
        self._tell("stopping", vm, options)

    async def stopped(self, vm: Vm, options: Level, step: Step) -> None:
        self._tell("stopped", vm, options)

    async def deleted(self, vm: Vm, options: Level, step: Step) -> None:
        self._tell("deleted", vm, options)

    async def adopted(self, vm: Vm, options: Level, step: Step) -> None:
        self._tell("adopted", vm, options)


class Bench:
    """A fleet on its own."""

    def __init__(self, root: Path) -> None:
        self.store = RecordStore(root / "vms", VmRecord)
        self.driver = FakeDriver()
        self.taps = FakeTaps()
        self.root = root
        self.fleet: Ref
        self.told: list[str] = []
        self.refuse_changes = False
        self.capability = self._recorder()

    def _recorder(self) -> type[Recorder]:
        """A capability that writes down what it is told."""
        return type("Own", (Recorder,), {"bench": self})

    async def create(self, *, start: bool = True) -> VmView:
        options = {"recorder": {"level": 1}}
        return await self.fleet.ask(CreateVm("box", SPEC, "debian-1", start, options=options))

    async def ask(self, request: Request[Any]) -> Any:
        return await (await self.fleet.ask(FindVm("box"))).ask(request)

    async def state(self) -> VmState | None:
        views = await self.fleet.ask(ListVms())
        return views[0].state if views else None

    def assert_nothing_left(self) -> None:
        assert not self.driver.running
        assert not self.taps.leased
        assert not self.taps.addresses
        assert not list((self.root / "vms").iterdir())


@asynccontextmanager
async def bench_at(root: Path, before: Bench | None = None) -> AsyncIterator[Bench]:
    """``before``: what an earlier daemon has left."""
    bench = before or Bench(root)
    if before is None:
        put_image(root / "images" / "debian-1")
    async with nursery_within(30) as nursery:
        supervisor = Supervisor(nursery)
        bus, paths = Bus(), Paths(config=root, state=root, cache=root, runtime=root / "run")
        shelf = Shelf(seed_store(paths.seeds), vms=lambda: [])
        seeds = Seeds(shelf, bench.driver, paths, bus, work_bytes=WORK_BYTES, enabled=False)

        def pool() -> StandbyPool:
            standby = RecordStore(paths.standby, VmRecord, version=RECORD_VERSION)
            return StandbyPool(services, standby, size=0, pressure=lambda: "")

        services = Services(
            store=bench.store,
            driver=bench.driver,
            taps=supervisor.start("taps", lambda: bench.taps).ref,
            seeds=supervisor.start("seeds", lambda: seeds).ref,
            standby=supervisor.start("standby", pool).ref,
            bus=bus,
            paths=paths,
            capabilities=registry(bench.capability),
            pin_unknown=trio.lowlevel.checkpoint,
            stop_timeout_s=1,
        )
        bench.fleet = supervisor.start("fleet", lambda: Fleet(services)).ref
        yield bench
        nursery.cancel_scope.cancel()


def put_image(image: Path) -> None:
    image.mkdir(parents=True)
    for name in ("vmlinux", "modules.cpio"):
        (image / name).write_bytes(b"")
    with (image / "root.ext4").open("wb") as file:
        file.truncate(64 << 20)
    record = ImageRecord("debian-1", "debian", "debian", 0.0, 64 << 20, "6.1", "Debian 12")
    image_store(image.parent).save(record.id, record)


@pytest.fixture(autouse=True)
def guest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An agent that answers, and no programs run."""

    class Health:
        uptime_ms = 1

    async def health(link: object) -> Health:
        return Health()

    async def check_configured(link: object) -> tuple[str, ...]:
        return ()

    (tmp_path / "agent").write_bytes(b"agent")
    monkeypatch.setattr(agent, "health", health)
    monkeypatch.setattr(agent, "check_configured", check_configured)
    monkeypatch.setattr(assets, "agent_binary", lambda: tmp_path / "agent")
