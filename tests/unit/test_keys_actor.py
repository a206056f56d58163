"""The key in the guests: rotation over agents that obey the test."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from banger.actors import keys, vm_requests
from banger.actors.fleet import FindVm, LookAtVms
from banger.actors.keys import AssureKey, DescribeKey, Keys, RotateKey
from banger.guest.authorized_keys import PATH, amended
from banger.guest.link import AgentLink
from banger.host.keys import InstallationKey
from banger.kernel.actor import Actor, Inbox, Ref, mailbox
from banger.kernel.bus import Bus
from banger.kernel.errors import BangerError, HostNotReady, IllegalState, NotFound
from banger.kernel.message import Fault
from banger.model.events import VmStateChanged
from banger.model.requests.keys import KeyStatus, KeyView
from banger.model.vm import VmState
from banger.testing.vm import fake_vm
from tests.unit.fake_agent import FakeAgent, fake_dial
from tests.unit.nursery import nursery_within

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")

USERS = b"ssh-ed25519 AAAAuser own@laptop"

A, B = "ssh-ed25519 AAAAa banger", "ssh-ed25519 AAAAb banger"


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted", "after"),
    [
        (b"", [A], [], b"ssh-ed25519 AAAAa banger\n"),
        (USERS, [A], [], USERS + b"\nssh-ed25519 AAAAa banger\n"),
        (b"ssh-ed25519 AAAAa renamed\n", [A], [B], b"ssh-ed25519 AAAAa renamed\n"),
        (b'from="::1" ssh-ed25519 AAAAa x\n' + USERS, [], [A], USERS),
        (b"# ssh-ed25519 AAAAa\n\n", [A], [], b"# ssh-ed25519 AAAAa\n\nssh-ed25519 AAAAa banger\n"),
        (b"# ssh-ed25519 AAAAa\n", [], [A], b"# ssh-ed25519 AAAAa\n"),
        (b"\xff AAAAb\n\0\n", [A], [B], b"\0\nssh-ed25519 AAAAa banger\n"),
        (b"ssh-ed25519 AAAAaa x\n", [], [A], b"ssh-ed25519 AAAAaa x\n"),
    ],
)
def test_amended(text: bytes, wanted: list[str], unwanted: list[str], after: bytes) -> None:
    assert amended(text, wanted, unwanted) == after
    assert amended(after, wanted, unwanted) == after


class FakeVm(Actor):
    """A VM in the state the test gives it, with an agent when it runs."""

    def __init__(self, name: str, nursery: trio.Nursery, state: VmState) -> None:
        self.name = name
        self.state = state
        self.agent = FakeAgent()
        self.agent.files[PATH] = (0o600, USERS)
        self.silent = False
        self.link = AgentLink(fake_dial(nursery, self._serve), 3)
        self.ref, inbox = mailbox(name)
        nursery.start_soon(self.run, inbox)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        if self.silent:
            await trio.sleep_forever()
        await self.agent.serve(stream)

    async def run(self, inbox: Inbox) -> None:
        async for envelope in inbox:
            with envelope:
                if isinstance(envelope.request, vm_requests.Look):
                    envelope.reply(self.look())
                elif self.state is VmState.RUNNING:
                    envelope.reply(self.link)
                else:
                    raise IllegalState(f"VM {self.name!r} is {self.state}")

    def look(self) -> vm_requests.Seen:
        return vm_requests.Seen(fake_vm(self.name, state=self.state), {})

    @property
    def keys(self) -> list[str]:
        """Those in its file beside the user's."""
        lines = self.agent.files[PATH][1].decode().splitlines()
        assert lines[0] == USERS.decode()
        return lines[1:]


class Bench(Actor):
    """The fleet, and the actor under test."""

    name = "fleet"

    def __init__(self, path: Path, nursery: trio.Nursery) -> None:
        self.vms: dict[str, FakeVm] = {}
        self.path = path
        self.bus = Bus()
        self.recovered = trio.Event()
        self.recovered.set()
        self._nursery = nursery
        self.fleet, inbox = mailbox("fleet")
        nursery.start_soon(self.run, inbox)
        self.scope, self.ended = trio.CancelScope(), trio.Event()
        self.key: InstallationKey
        self.ref: Ref

    def start(self) -> None:
        """The actor, as in a daemon that has just been started."""
        self.key = InstallationKey(self.path)
        self.scope, self.ended = trio.CancelScope(), trio.Event()
        self.ref, inbox = mailbox("keys")
        actor = Keys(self.key, fleet=self.fleet, bus=self.bus, recovered=self.recovered)
        self._nursery.start_soon(self._keep, actor, inbox, self.scope)

    async def _keep(self, actor: Keys, inbox: Inbox, scope: trio.CancelScope) -> None:
        with scope:
            await actor.run(inbox)
        inbox.close()
        self.ended.set()

    def vm(self, name: str, state: VmState = VmState.RUNNING, *, knows: bool = True) -> FakeVm:
        self.vms[name] = vm = FakeVm(name, self._nursery, state)
        if knows:
            told = USERS + f"\n{self.key.pair.public}\n".encode()
            vm.agent.files[PATH] = (0o600, told)
        return vm

    async def run(self, inbox: Inbox) -> None:
        async for envelope in inbox:
            with envelope:
                match envelope.request:
                    case LookAtVms():
                        envelope.reply([vm.look() for vm in self.vms.values()])
                    case FindVm(name) if name in self.vms:
                        envelope.reply(self.vms[name].ref)
                    case FindVm(name):
                        raise NotFound(name)

    async def rotate(self, fault: Fault | None = None) -> KeyView:
        return await self.ref.ask(RotateKey(fault))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with nursery_within(20) as nursery:
        bench = Bench(tmp_path / "keys" / "id_ed25519", nursery)
        bench.start()
        yield bench
        nursery.cancel_scope.cancel()


def statuses(view: KeyView) -> dict[str, KeyStatus]:
    return {found.vm: found.status for found in view.vms}


async def test_show(bench: Bench) -> None:
    bench.vm("b")
    bench.vm("c", VmState.STOPPED)
    bench.vm("a", knows=False)
    view = await bench.ref.ask(DescribeKey())
    assert list(statuses(view).items()) == [
        ("a", KeyStatus.OUTDATED),
        ("b", KeyStatus.CONFIRMED),
        ("c", KeyStatus.NEXT_START),
    ]
    assert (view.public_key, view.path) == (bench.key.pair.public, str(bench.path))


async def test_rotation(bench: Bench) -> None:
    running, stopped = bench.vm("on"), bench.vm("off", VmState.STOPPED)
    former = bench.key.pair.public
    view = await bench.rotate()
    assert statuses(view) == {"off": KeyStatus.NEXT_START, "on": KeyStatus.CONFIRMED}
    assert view.public_key == bench.key.pair.public != former
    assert running.keys == [view.public_key]
    assert running.agent.files[PATH][0] == 0o600
    assert stopped.keys == [former]
    assert statuses(await bench.ref.ask(DescribeKey())) == statuses(view)


async def test_a_guest_without_the_file(bench: Bench) -> None:
    vm = bench.vm("bare")
    del vm.agent.files[PATH]
    view = await bench.rotate()
    assert vm.agent.files[PATH] == (0o600, f"{view.public_key}\n".encode())
    assert vm.agent.directories["/root/.ssh"] == 0o700


@pytest.mark.parametrize("stage", ["prepare", "announce"])
@pytest.mark.parametrize("how", ["fails", "is killed"])
async def test_a_rotation_that_ends_before_the_switch(bench: Bench, stage: str, how: str) -> None:
    vm = bench.vm("on")
    former = bench.key.pair
    await _end_at(bench, stage, how)
    assert bench.key.pair == former
    view = await bench.ref.ask(DescribeKey())
    assert statuses(view) == {"on": KeyStatus.CONFIRMED}
    assert vm.keys == [former.public]
    assert not list(bench.path.parent.glob("*.new*"))


@pytest.mark.parametrize("how", ["fails", "is killed"])
async def test_a_rotation_that_ends_behind_the_switch(bench: Bench, how: str) -> None:
    vm = bench.vm("on")
    former = bench.key.pair
    await _end_at(bench, "switch", how)
    assert bench.key.pair != former
    assert vm.keys == [bench.key.pair.public]


async def _end_at(bench: Bench, stage: str, how: str) -> None:
    if how == "fails":
        with pytest.raises(BangerError, match="injected fault"):
            await bench.rotate(Fault(stage))
        return
    before = bench.key.pair
    reached = {
        "prepare": lambda: bench.key.coming is not None,
        "announce": lambda: len(bench.vms["on"].keys) == 2,
        "switch": lambda: bench.key.pair != before,
    }
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.rotate, Fault(stage, hang=True))
        while not reached[stage]():
            await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    # As after kill -9: nothing of it is undone; another daemon reads what is on the disk.
    bench.key.path = bench.path.parent / "nowhere"
    bench.vms, vms = {}, bench.vms
    bench.scope.cancel()
    await bench.ended.wait()
    bench.vms = vms
    assert bench.path.with_name("id_ed25519.new").exists() == (stage != "switch")
    bench.start()
    await bench.ref.ask(AssureKey("on"))


async def test_a_silent_guest(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "GUEST_DEADLINE_S", 0.3)
    vm, other = bench.vm("mute"), bench.vm("on")
    former = bench.key.pair.public
    vm.silent = True
    view = await bench.rotate()
    assert statuses(view) == {"mute": KeyStatus.FAILED, "on": KeyStatus.CONFIRMED}
    assert "does not answer" in view.vms[0].problem
    assert vm.keys == [former]
    assert other.keys == [view.public_key]
    vm.silent = False
    await bench.ref.ask(AssureKey("mute"))
    assert vm.keys == [view.public_key]


async def test_nothing_is_asked_of_guests_before_the_first_rotation(bench: Bench) -> None:
    vm = bench.vm("on")
    await bench.ref.ask(AssureKey("on"))
    assert vm.agent.requests == []


async def test_a_vm_that_is_starting_is_waited_for(bench: Bench) -> None:
    vm = bench.vm("soon", VmState.STARTING)
    views: list[KeyView] = []

    async def rotate() -> None:
        views.append(await bench.rotate())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rotate)
        await trio.sleep(0)
        while bench.key.coming is None:
            await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked()
        assert not views
        vm.state = VmState.RUNNING
        bench.bus.publish(VmStateChanged("soon", vm.state, ""))
    assert vm.keys == [views[0].public_key]


async def test_a_disk_that_can_not_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = bench.key.pair

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.key, "prepare", full)
    with pytest.raises(HostNotReady, match="No space left"):
        await bench.rotate()
    assert bench.key.pair == former
