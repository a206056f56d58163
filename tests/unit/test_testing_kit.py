"""The kit for authors of plugins: fakes that are like the daemon, faults that are found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
import trio

from banger.capabilities import (
    API_VERSION,
    HOOKS,
    Actor,
    Capability,
    Check,
    CommandCall,
    Conflict,
    Finding,
    GuestContribution,
    HostNotReady,
    Inbox,
    Level,
    Options,
    Request,
    Rules,
    Service,
    Setting,
    Step,
    Syntax,
    UsageError,
    Verb,
    Vm,
    command,
    option,
)
from banger.capabilities.capability import AnyCapability
from banger.capabilities.loader import find_capabilities
from banger.kernel.errors import IllegalState
from banger.model.vm import VmState
from banger.testing import FakeDaemon, FakeHost, Nonconforming, conformance, fake_vm, life
from banger.testing.life import InjectedFault
from tests.unit.capability_samples import named


class Increase(Request[int], frozen=True):
    """Count one more."""


class Counter(Actor):
    def __init__(self) -> None:
        self.count = 0

    async def run(self, inbox: Inbox) -> None:
        async for envelope in inbox:
            with envelope:
                self.count += 1
                envelope.reply(self.count)


class PortOptions(Options, frozen=True):
    port: Annotated[int, option("A port.", "--a-port", ge=1, le=65535)] = 80


class Sound(Capability[PortOptions]):
    """Uses everything, as it should be used; the planted faults are its subclasses."""

    api_version = API_VERSION
    name = "sound"
    summary = "Does everything right."
    options = PortOptions
    settings = (Setting("port", 80, "Of new VMs.", minimum=1),)

    def defaults(self) -> PortOptions:
        return PortOptions(self.host.settings.number("port"))

    def checks(self) -> Sequence[Check]:
        async def run() -> list[Finding]:
            return [check.ok("all is well")]

        check = Check("sound", run, frozenset({Verb.START}))
        return [check]

    def services(self) -> Sequence[Service]:
        return [Service("counter", Counter)]

    async def admit(self, vm: Vm, options: PortOptions) -> None:
        if options.port == 13:
            raise Conflict("13 brings bad luck")

    async def prepare(self, vm: Vm, options: PortOptions, step: Step) -> None:
        step.undo(lambda: self.host.firewall.remove(vm.id))
        await self._put(vm, options)

    def contribute(self, vm: Vm, options: PortOptions, guest: GuestContribution) -> None:
        guest.environment("PORT", str(options.port))

    async def started(self, vm: Vm, options: PortOptions, step: Step) -> None:
        note = self.host.directory / vm.name
        before = note.read_text() if note.exists() else None

        async def put_back() -> None:
            note.unlink(missing_ok=True)
            if before is not None:
                note.write_text(before)

        step.undo(put_back)
        note.write_text(str(options.port))
        await self.host.guest_run(vm, ["listen", str(options.port)])
        await self.host.service("counter").ask(Increase())

    async def changed(self, vm: Vm, before: PortOptions, options: PortOptions, step: Step) -> None:
        if vm.state is VmState.RUNNING:
            step.undo(lambda: self._put(vm, before))
            await self._put(vm, options)

    async def stopped(self, vm: Vm, options: PortOptions, step: Step) -> None:
        await self.host.firewall.remove(vm.id)

    async def deleted(self, vm: Vm, options: PortOptions, step: Step) -> None:
        (self.host.directory / vm.name).unlink(missing_ok=True)

    async def adopted(self, vm: Vm, options: PortOptions, step: Step) -> None:
        await self._put(vm, options)

    async def _put(self, vm: Vm, options: PortOptions) -> None:
        rule = f"ip saddr {vm.address} tcp dport {options.port} accept"
        await self.host.firewall.put(vm.id, Rules(forward=(rule,)))

    @command(Syntax(("sound", "count"), "Count."))
    async def count(self, call: CommandCall) -> int:
        return 0


# --- the fakes ---


async def test_a_life(tmp_path: Path) -> None:
    async with life(Sound, tmp_path, settings={"port": 22}) as vm:
        rule = f"ip saddr {vm.vm.address} tcp dport 22 accept"
        assert vm.host.firewall.rules[vm.vm.id].forward == (rule,)
        assert vm.guest.environment == {"PORT": "22"}
        assert vm.guest.ran == [("listen", "22")]
        assert await vm.host.service("counter").ask(Increase()) == 2
        await vm.change(port=23)
        assert "dport 23" in vm.host.firewall.rules[vm.vm.id].forward[0]
        with pytest.raises(Conflict, match="bad luck"):
            await vm.change(port=13)
        with pytest.raises(UsageError, match="--a-port 0"):
            await vm.change(port=0)
        assert vm.options["sound"] == {"port": 23}
        with pytest.raises(IllegalState, match="legal now"):
            await vm.start()
        await vm.stop()
        assert not vm.host.firewall.rules
        await vm.start()
        assert vm.guest.boots == 2
    assert vm.host.state() == {}
    assert not list((tmp_path / "vms").iterdir())


async def test_hooks_are_called_as_the_daemon_calls_them(tmp_path: Path) -> None:
    seen: list[tuple[str, str, bool, bool]] = []

    def telling(hook: str) -> Any:
        def note(self: object, vm: Vm, *rest: object) -> None:
            seen.append((hook, vm.state, bool(vm.address), bool(vm.tap)))

        async def wait(self: object, vm: Vm, *rest: object) -> None:
            note(self, vm)

        return note if hook == "contribute" else wait

    found = named("telling", options=PortOptions, **{hook: telling(hook) for hook in HOOKS})
    daemon = FakeDaemon(found, tmp_path)
    vm = await daemon.create()
    await vm.change(port=81)
    await daemon.restart()
    await vm.stop()
    await vm.delete()
    assert seen == [
        ("admit", "creating", False, False),
        ("prepare", "creating", True, True),
        ("contribute", "creating", True, True),
        ("started", "creating", True, True),
        ("admit", "running", True, True),
        ("changed", "running", True, True),
        ("adopted", "running", True, True),
        ("stopping", "stopping", True, True),
        ("stopped", "stopping", True, True),
        ("stopped", "deleting", True, True),
        ("deleted", "deleting", True, False),
    ]


@pytest.mark.parametrize("hook", ["admit", "prepare", "contribute", "started"])
async def test_a_failure_after_each_hook_is_undone(tmp_path: Path, hook: str) -> None:
    daemon = FakeDaemon(Sound, tmp_path)
    async with daemon.serving():
        with pytest.raises(InjectedFault, match=hook):
            await daemon.create(fail_after=hook)
        assert daemon.host.state() == {} and not daemon.lives
        vm = await daemon.create()
        with pytest.raises(InjectedFault):
            await vm.change(port=99, fail_after="changed")
        assert "dport 80" in daemon.host.firewall.rules[vm.vm.id].forward[0]


async def test_several_vms_and_changes_by_the_capability_itself(tmp_path: Path) -> None:
    daemon = FakeDaemon(Sound, tmp_path)
    async with daemon.serving():
        await daemon.create("one", {"port": 1})
        await daemon.create("two", {"port": 2})
        with pytest.raises(Conflict, match="exists"):
            await daemon.create("two")
        await daemon.host.change_options("one", {"port": 6})
        await daemon.host.change_options("one", lambda now: {"port": now.port + 1})
        assert [(vm.name, o.port) for vm, o in await daemon.host.vms()] == [("one", 7), ("two", 2)]
        assert len({vm.id for vm, _ in await daemon.host.vms()}) == 2


async def test_others_come_first(tmp_path: Path) -> None:
    def says(name: str) -> Any:
        return lambda self, vm, options, guest: guest.resolver(name)

    first = named("zz", contribute=says("192.0.2.1"))
    second = named("aa", after=("zz",), contribute=says("192.0.2.2"))
    vm = await FakeDaemon(second, tmp_path, others=[first]).create()
    assert vm.guest.plan.config.resolvers == ["192.0.2.1", "192.0.2.2"]


async def test_programs_answer(tmp_path: Path) -> None:
    host = FakeHost(Sound, tmp_path)
    host.programs.answer("ip", stdout="all links")
    host.programs.answer("ip", "route", code=2, stderr="no")
    host.programs.refuse("nft", error=HostNotReady("nft is not installed"))
    assert (await host.run(["ip", "link"])).stdout == b"all links"
    assert (await host.run(["ip", "route", "get"], stdin=b"x")).code == 2
    assert (await host.run(["true"])).code == 0
    with pytest.raises(HostNotReady, match="nft"):
        await host.run(["nft", "list"])
    with pytest.raises(TypeError, match="no list of words"):
        await host.run("ip link")
    assert host.programs.ran[1] == ("ip", "route", "get")
    assert host.programs.fed[1] == b"x"


async def test_the_host_refuses_what_the_real_one_refuses(tmp_path: Path) -> None:
    host = FakeHost(Sound, tmp_path)
    with pytest.raises(UsageError, match="can't be a rule"):
        await host.firewall.put("x", Rules(forward=("accept; drop",)))
    with pytest.raises(UsageError, match="has no setting 'prot'"):
        FakeHost(Sound, tmp_path, settings={"prot": 1})
    with pytest.raises(UsageError, match="less than 1"):
        FakeHost(Sound, tmp_path, settings={"port": 0})
    with pytest.raises(TypeError):
        host.publish("kind", data=object())
    host.publish("kind", number=1)
    assert host.events[0].data == {"number": 1}
    with pytest.raises(KeyError, match="counter"):
        host.service("counter")
    daemon = FakeDaemon(named("plain"), tmp_path)
    vm = await daemon.create(start=False)
    with pytest.raises(IllegalState, match="can't be talked to"):
        await daemon.host.guest_run(vm.vm, ["true"])


async def test_a_crash_of_a_service_is_seen(tmp_path: Path) -> None:
    class Bad(Actor):
        async def run(self, inbox: Inbox) -> None:
            raise ValueError("a bug in it")

    found = named("bad", services=lambda self: [Service("bad", Bad)])
    with pytest.raises(ValueError, match="a bug in it"):
        async with life(found, tmp_path):
            await trio.sleep_forever()


async def test_what_the_daemon_would_only_log_fails_the_test(tmp_path: Path) -> None:
    async def stopped(self: object, *_: object) -> None:
        raise Conflict("can't give it back")

    with pytest.raises(AssertionError, match=r"bad, stopped: can't give it back"):
        async with life(named("bad", stopped=stopped), tmp_path):
            pass


def test_made_up_vms() -> None:
    assert fake_vm("a") == fake_vm("a")
    assert fake_vm("a").id != fake_vm("b").id
    assert fake_vm(state=VmState.STOPPED, tap="").tap == ""


# --- conformance ---


async def test_a_sound_one_conforms(tmp_path: Path) -> None:
    await conformance(Sound, tmp_path)


@pytest.mark.parametrize("name", ["guest", "network", "ssh"])
async def test_bangers_own_conform(tmp_path: Path, name: str) -> None:
    (found,) = (item.found for item in find_capabilities() if item.name == name)
    assert found is not None
    await conformance(found, tmp_path)


async def faults_of(tmp_path: Path, found: object, **how: Any) -> str:
    with pytest.raises(Nonconforming) as caught:
        await conformance(found, tmp_path, **how)  # type: ignore[arg-type]
    return str(caught.value)


def sound(**attributes: Any) -> type[AnyCapability]:
    """The sound capability with something else in it."""
    return named("sound", Sound, **attributes)


class Twice(Options, frozen=True):
    one: Annotated[int, option("One.", "--name")] = 0
    two: Annotated[int, option("", "--isolated")] = 0
    three: Annotated[int, option("Three.", "--Three")] = 0


class NotAtAll(Options, frozen=True):
    one: int = 0


class Impossible(Options, frozen=True):
    one: Annotated[str, option("One.", "--one")] = ""

    def __post_init__(self) -> None:
        raise ValueError("never")


async def _with_vm(self: object, vm: Vm) -> None: ...


async def _with_all(self: object, vm: Vm, options: Options, step: Step) -> None: ...


def _not_async(self: object, vm: Vm, options: Options, step: Step) -> None: ...


async def _returns_one(self: object) -> int:
    return 1


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (3, "3 is no subclass of banger.capabilities.Capability"),
        (named("Big"), "capability"),
        (named("other", api_version=7), "written for version 7"),
        (sound(options=NotAtAll), "'one' is not Annotated"),
        (sound(options=Impossible), "its declarations: "),
        (sound(settings=(Setting("x", 0, "Help.", minimum=1),)), "0 is less than 1"),
        (sound(summary=""), "'summary' is one line"),
        (sound(after="dns"), "'after' is 'dns', not a tuple of names"),
        (sound(after=("sound",)), "'after' names the capability itself"),
        (sound(deadline_s=0), "'deadline_s' is a number of seconds"),
        (sound(settings=(Setting("capabilities.x", 1, "x"),)), "a key is a bare name"),
        (sound(settings=(Setting("x", 1, ""),)), "setting 'x' has no help"),
        (sound(settings=(Setting("x", 1, "a"), Setting("x", 1, "a"))), "'x' is there twice"),
        (named("x", options=Twice), "flag --name is taken by 'banger vm create'"),
        (named("x", options=Twice), "option --isolated has no help"),
        (named("x", options=Twice), "flag --isolated is taken by banger's capability 'network'"),
        (named("x", options=Twice), "flag '--Three' is not like --name"),
        (sound(prepare=_with_vm), r"'prepare' is called as prepare\(self, vm, options, step\)"),
        (sound(started=_not_async), "'started' must be 'async def'"),
        (sound(contribute=_with_all), "'contribute' must be a plain 'def'"),
        (sound(deleted=3), "'deleted' is a method, not 3"),
        (sound(start=_with_all), "method 'start' is never called: is the hook 'started' meant"),
        (sound(on_started=_with_all), "method 'on_started' is never called"),
        (sound(stop=_with_all), "is the hook 'stopp"),
        (sound(delete=_with_all), "is the hook 'deleted' meant"),
        (
            sound(x=command(Syntax(("vm", "list"), ""))(lambda self, call: None)),  # type: ignore
            "command 'vm list' is one of banger's own",
        ),
        (
            sound(x=command(Syntax(("x",), "X."))(lambda self, call: None)),  # type: ignore
            "a path has two or three words",
        ),
        (
            sound(x=command(Syntax(("x", "y"), "X."))(_returns_one)),  # type: ignore
            r"'x' takes \(self, call\)",
        ),
    ],
)
async def test_what_is_declared_wrongly(tmp_path: Path, found: object, told: str) -> None:
    import re

    assert re.search(told, await faults_of(tmp_path, found))


async def test_an_entry_point_of_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = f"{Sound.__module__}:Sound"
    for name, told in (
        ("other", "the entry point is called 'other'"),
        ("", "is installed without"),
    ):
        site = tmp_path / (name or "none")
        info = site / "found-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: found\nVersion: 1.0\n")
        (info / "top_level.txt").write_text("tests\n")
        (info / "RECORD").write_text("")
        entry = f"[banger.capabilities]\n{name} = {value}\n" if name else ""
        (info / "entry_points.txt").write_text(entry)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(site))
            assert told in await faults_of(tmp_path, Sound)


class Forgetful(Sound):
    """Base of those that keep something; what it is, they say."""

    async def _put(self, vm: Vm, options: PortOptions) -> None:
        await self.host.firewall.put(vm.id, Rules(forward=(f"tcp dport {options.port} accept",)))


async def _nothing(self: object, *_: object) -> None: ...


def _attribute(self: Any, vm: Vm, options: Options, guest: GuestContribution) -> None:
    self.counted = getattr(self, "counted", 0) + 1


def _another(self: Any, vm: Vm, options: Options, guest: GuestContribution) -> None:
    guest.file("/etc/time", str(time.monotonic_ns()))


def _writes(self: Any, vm: Vm, options: Options, guest: GuestContribution) -> None:
    (vm.directory / "note").write_text(str(time.monotonic_ns()))


async def _admit_writes(self: Any, vm: Vm, options: Options) -> None:
    (self.host.directory / "admitted").write_text(str(time.monotonic_ns()))


async def _prepare_without_undo(self: Any, vm: Vm, options: PortOptions, step: Step) -> None:
    await self._put(vm, options)


async def _changed_without_undo(
    self: Any, vm: Vm, before: PortOptions, options: PortOptions, step: Step
) -> None:
    if vm.tap:
        await self._put(vm, options)


async def _changed_always(
    self: Any, vm: Vm, before: PortOptions, options: PortOptions, step: Step
) -> None:
    step.undo(lambda: self._put(vm, before))
    await self._put(vm, options)


async def _stopped_once(self: Any, vm: Vm, options: PortOptions, step: Step) -> None:
    if vm.id not in self.host.firewall.rules:
        raise Conflict("it is not there any more")
    await self.host.firewall.remove(vm.id)


async def _deleted_strictly(self: Any, vm: Vm, options: PortOptions, step: Step) -> None:
    (self.host.directory / vm.name).unlink()


async def _bad_undo(self: Any, vm: Vm, options: PortOptions, step: Step) -> None:
    async def undo() -> None:
        raise OSError("undo is broken")

    step.undo(lambda: self.host.firewall.remove(vm.id))
    step.undo(undo)
    await self._put(vm, options)


async def _blocks(self: object, *_: object) -> None:
    time.sleep(30)


def _spins(self: object, *_: object) -> None:
    while True:
        pass


async def _late(self: object, *_: object) -> None:
    await trio.sleep(0.3)


async def _exits(self: object, *_: object) -> None:
    raise SystemExit(3)


async def _raises(self: object, *_: object) -> None:
    raise ZeroDivisionError


def _made_badly(self: Any, host: object) -> None:
    raise OSError("no such device")


def _checks(findings: Any, **how: Any) -> Any:
    async def run() -> Any:
        return findings

    return lambda self: [Check("sound", run, **how)]


def _ends(self: object) -> list[Service]:
    class Ends(Actor):
        async def run(self, inbox: Inbox) -> None:
            return

    return [Service("counter", Counter), Service("ends", Ends)]


_COUNTER = Counter()


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"stopped": _nothing}, "'stopped' does not give back what it should: there is now fire"),
        ({"deleted": _nothing}, "'deleted' does not forget the VM: file"),
        ({"adopted": _nothing}, "'adopted' does not restore what the VM had: missing is firewall"),
        ({"prepare": _prepare_without_undo}, "a create that fails after 'prepare' is not undone"),
        ({"prepare": _prepare_without_undo}, "a start that fails after 'started' is not undone"),
        ({"changed": _changed_without_undo}, "'changed' of port, VM running, is not undone"),
        ({"changed": _changed_always}, "'changed' makes rules for a VM that is stopped"),
        ({"changed": _nothing}, "since port changed: different is firewall rules"),
        ({"stopped": _stopped_once}, "sound, stopped: it is not there any more"),
        ({"deleted": _deleted_strictly}, "its hook 'deleted' raised FileNotFoundError"),
        ({"prepare": _bad_undo}, "an undo step of a capability failed: raised OSError('undo is"),
        ({"contribute": _attribute}, "must be pure: different is attributes of the capability"),
        ({"contribute": _another}, "must be pure: called twice, it says something else"),
        ({"contribute": _writes}, "must be pure: different is file"),
        ({"admit": _admit_writes}, "'admit' may only refuse, not make anything: different is file"),
        ({"defaults": lambda self: 3}, "its defaults: returned 3"),
        ({"started": _blocks}, "its hook 'started' blocked the daemon for 1 s, at"),
        ({"contribute": _spins}, "its hook 'contribute' blocked the daemon for 1 s, at"),
        ({"stopping": _late, "deadline_s": 0.1}, "its hook 'stopping' took longer than 0.1 s"),
        ({"started": _exits}, "its hook 'started' called sys.exit(3)"),
        ({"stopping": _raises}, "its hook 'stopping' raised ZeroDivisionError"),
        ({"__init__": _made_badly}, "can't be made: raised OSError('no such device')"),
        ({"checks": _checks([])}, "check 'sound' finds nothing"),
        ({"checks": _checks([3])}, "check 'sound' returns 3, which is no Finding"),
        ({"checks": _checks([Finding("x", Level.OK, "")])}, "returns a finding of 'x'"),
        ({"checks": _checks([Finding("sound", Level.FAILED, "bad")])}, "says nothing to do about"),
        ({"checks": _checks([], before={"boot"})}, "'boot' in 'before' is no Verb"),
        ({"checks": lambda self: [3]}, "'checks' returns 3, which is no Check"),
        ({"services": _ends}, "service 'ends' has ended"),
        (
            {"services": lambda self: [Service("counter", Counter)] * 2},
            "two services are called 'counter'",
        ),
        (
            {"services": lambda self: [Service("counter", lambda: _COUNTER)]},
            "'make' must build a new actor each time",
        ),
    ],
)
async def test_a_planted_fault_is_found(
    tmp_path: Path, attributes: dict[str, Any], told: str
) -> None:
    assert told in await faults_of(tmp_path, sound(**attributes))


@pytest.mark.parametrize("hook", HOOKS)
async def test_an_exception_in_any_hook_is_found(tmp_path: Path, hook: str) -> None:
    def plain(self: object, *_: object) -> None:
        raise ZeroDivisionError

    found = sound(**{hook: plain if hook == "contribute" else _raises})
    assert f"its hook '{hook}' raised ZeroDivisionError" in await faults_of(tmp_path, found)


async def test_options_and_answers_can_be_arranged(tmp_path: Path) -> None:
    guests: list[FakeDaemon] = []

    async def started(self: Any, vm: Vm, options: PortOptions, step: Step) -> None:
        if vm.name != "another-vm" and options.port < 443:
            raise Conflict(f"{options.port}")
        done = await self.host.run(["which", "tool"])
        if done.stdout != b"/bin/tool":
            raise Conflict("no tool")

    def arrange(daemon: FakeDaemon) -> None:
        guests.append(daemon)
        daemon.host.programs.answer("which", stdout="/bin/tool")

    found = sound(started=started)
    await conformance(found, tmp_path / "a", options={"port": 443}, arrange=arrange)
    assert guests
    assert "no tool" in await faults_of(tmp_path / "b", found, options={"port": 443})
