"""What belongs to no VM is found, and only what is safe is removed."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from banger.actors.firewall import DescribeFirewall, UnpinTap
from banger.actors.fleet import ListVms
from banger.capabilities.check import Check
from banger.doctor import leaked_files, leaked_taps, processes
from banger.doctor.known import seen_between
from banger.doctor.leaked_files import (
    leaked_directories_check,
    leaked_mounts_check,
    leaked_runtime_check,
)
from banger.doctor.leaked_processes import leaked_processes_check
from banger.doctor.leaked_taps import leaked_pins_check, leaked_taps_check
from banger.doctor.run import OwnedCheck, run_checks
from banger.host.netlink import Tap
from banger.model.finding import Finding, Level
from banger.model.firewall import FirewallReport, Pin
from banger.model.vm import VmState
from tests.unit.doctor_context import Host, finding_of, view

OK, WARNING = Level.OK, Level.WARNING
LOST, KNOWN = "1" * 32, "2" * 32
BRIDGE = "banger0"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.fleet.answers[ListVms] = []
    return host


async def repaired(check: Check) -> list[Finding]:
    return await run_checks([OwnedCheck(check)], fix=True)


def quarantine(host: Host, name: str) -> None:
    (host.store.directory(name)).mkdir()
    (host.store.directory(name) / "record.json").write_text("{")


# --- which VMs there are ---


def test_a_vm_of_either_look_is_known(host: Host) -> None:
    host.add_vm("going", LOST)

    def meanwhile() -> str:
        host.store.delete("going")
        host.add_vm("coming", KNOWN)
        return "seen"

    known, seen = seen_between([host.store], meanwhile)
    assert known.names == {LOST: "going", KNOWN: "coming"}
    assert seen == "seen"


@pytest.mark.parametrize(
    ("before", "after", "idle"),
    [
        (VmState.STOPPED, VmState.STOPPED, True),
        (VmState.CRASHED, VmState.STOPPED, True),
        (VmState.STOPPED, VmState.STARTING, False),
        (VmState.STOPPING, VmState.STOPPED, False),
        (VmState.FAILED, VmState.FAILED, False),
    ],
)
def test_a_vm_is_idle_when_both_looks_say_so(
    host: Host, before: VmState, after: VmState, idle: bool
) -> None:
    host.add_vm("x", KNOWN, before)
    known, _ = seen_between([host.store], lambda: host.add_vm("x", KNOWN, after))
    assert known.is_idle(KNOWN[:8]) is idle


# --- processes ---

Start = Callable[..., subprocess.Popen[str]]

LISTEN = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process with the arguments that lives until its stdin ends, or the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, keeping: Path | None = None, socket_path: Path | None = None):  # type: ignore[no-untyped-def]
        script = "import sys; print(1, flush=True); sys.stdin.read()"
        if socket_path is not None:
            script = f"{LISTEN}; {script}"
            arguments = (str(socket_path), *arguments)
        file = os.open(keeping, os.O_RDWR | os.O_CREAT) if keeping else None
        process = subprocess.Popen(
            [sys.executable, "-Sc", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[file] if file is not None else [],
            text=True,
        )
        if file is not None:
            os.close(file)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def uuid_of(vm_id: str) -> tuple[str, str]:
    return ("-uuid", str(uuid.UUID(vm_id)))


def forget(host: Host, name: str) -> None:
    """Remove the VM's directory; who has its disk open keeps that."""
    disk_of(host, name).unlink()
    host.store.directory(name).rmdir()


def disk_of(host: Host, name: str) -> Path:
    host.store.directory(name).mkdir(exist_ok=True)
    return host.store.directory(name) / "root.qcow2"


async def test_vmms_of_vms_are_well(host: Host, start: Start) -> None:
    host.add_vm("x", KNOWN)
    start(*uuid_of(KNOWN), keeping=disk_of(host, "x"))
    found = await finding_of(leaked_processes_check(host.context))
    assert (found.level, found.summary) == (OK, "1 VMMs, each of a VM; 1 processes in all")


async def test_a_vmm_of_no_vm_is_ended(host: Host, start: Start) -> None:
    host.add_vm("x", KNOWN)
    mine = start(*uuid_of(KNOWN), keeping=disk_of(host, "x"))
    stray = start(*uuid_of(LOST), keeping=disk_of(host, "gone"))
    forget(host, "gone")
    check = leaked_processes_check(host.context)
    found = await finding_of(check)
    assert (found.level, found.fixable, found.remedy) == (WARNING, True, f"kill {stray.pid}")
    (found,) = await repaired(check)
    assert (found.level, found.fixed) == (OK, f"ended process {stray.pid}")
    # Reaped by the doctor already, as the daemon would: Popen finds nothing to wait for.
    assert stray.wait(5) is not None
    assert mine.poll() is None


async def test_a_vmm_that_listens_where_ours_do(host: Host, start: Start) -> None:
    directory = host.paths.vm_runtime / LOST[:8]
    directory.mkdir()
    stray = start(*uuid_of(LOST), socket_path=directory / "qmp.sock")
    (found,) = await repaired(leaked_processes_check(host.context))
    assert found.fixed == f"ended process {stray.pid}"
    stray.wait(5)


async def test_a_new_vm_of_the_same_name_protects_no_lost_vmm(host: Host, start: Start) -> None:
    directory = host.paths.vm_runtime / LOST[:8]
    directory.mkdir()
    host.add_vm("x", KNOWN)
    start(*uuid_of(LOST), keeping=disk_of(host, "x"), socket_path=directory / "qmp.sock")
    assert (await finding_of(leaked_processes_check(host.context))).fixable


async def test_somebody_elses_vm_is_none_of_ours(host: Host, start: Start, tmp_path: Path) -> None:
    other = start(*uuid_of(LOST), keeping=tmp_path / "elsewhere")
    (found,) = await repaired(leaked_processes_check(host.context))
    assert (found.level, found.fixed) == (OK, "")
    assert other.poll() is None


async def test_what_is_no_vmm_is_not_ended(host: Host, start: Start) -> None:
    """Somebody reads a file of a VM; and repairs the disk of one with a VMM of his own."""
    host.add_vm("x", KNOWN)
    own = [
        start(keeping=disk_of(host, "x")),
        start(*uuid_of(LOST), keeping=disk_of(host, "x")),
    ]
    check = leaked_processes_check(host.context)
    assert (await finding_of(check)).level is OK
    own.append(start(keeping=disk_of(host, "gone")))
    forget(host, "gone")
    (found,) = await repaired(check)
    assert (found.level, found.fixable, found.fixed) == (WARNING, False, "")
    assert all(process.poll() is None for process in own)


async def test_a_vmm_is_spared_while_a_record_is_unreadable(host: Host, start: Start) -> None:
    quarantine(host, "mangled")
    stray = start(*uuid_of(LOST), keeping=disk_of(host, "gone"))
    forget(host, "gone")
    found = await repaired(leaked_processes_check(host.context))
    assert [(f.level, f.fixable) for f in found] == [(WARNING, False)]
    assert stray.poll() is None
    # One that holds files of the unreadable VM is not even reported.
    quiet = start(*uuid_of(KNOWN), keeping=disk_of(host, "mangled"))
    (again,) = await repaired(leaked_processes_check(host.context))
    assert f"process {stray.pid} " in again.summary
    assert quiet.poll() is None


async def test_a_vmm_of_a_stopped_vm_is_reported(host: Host, start: Start) -> None:
    host.add_vm("x", KNOWN, VmState.STOPPED)
    stray = start(*uuid_of(KNOWN), keeping=disk_of(host, "x"))
    (found,) = await repaired(leaked_processes_check(host.context))
    assert (found.level, "does not run" in found.summary) == (WARNING, True)
    assert stray.poll() is None


async def test_builders(host: Host, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start(f"{host.paths.images}/.building-debian-1/x")
    check = leaked_processes_check(host.context)
    assert (await finding_of(check)).level is OK
    # As if this process were not the one that started it.
    monkeypatch.setattr(os, "getpid", lambda: 1)
    found = await check.run()
    assert [(f.level, f.fixable) for f in found] == [(WARNING, False)]
    assert "builds an image that nobody waits for" in found[0].summary


def test_descendants() -> None:
    assert processes.is_descendant(os.getpid(), os.getpid())
    assert processes.is_descendant(os.getpid(), os.getppid())
    assert not processes.is_descendant(os.getppid(), os.getpid())
    assert not processes.is_descendant(1 << 30, os.getpid())


# --- TAPs, firewall ---


class FakeNetlink:
    def __init__(self) -> None:
        self.taps: dict[str, bool] = {}

    def list_taps(self, bridge: str) -> list[Tap]:
        assert bridge == BRIDGE
        return [
            Tap(name, number, "", bridge, up=True, carrier=carrier, mtu=1500)
            for number, (name, carrier) in enumerate(self.taps.items())
        ]

    def delete_tap(self, name: str) -> None:
        del self.taps[name]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeNetlink:
    machine = FakeNetlink()
    monkeypatch.setattr(leaked_taps, "netlink", machine)
    return machine


async def test_taps_of_vms_and_idle_ones_are_well(host: Host, machine: FakeNetlink) -> None:
    host.add_vm("x", KNOWN)
    machine.taps = {
        "tap-22222222": True,
        **{f"tap-pool-{number}": False for number in range(4)},
        "somebodys": False,
    }
    (found,) = await repaired(leaked_taps_check(host.context))
    assert (found.level, found.fixed) == (OK, "")
    assert found.summary == "1 TAPs of VMs, 4 idle TAPs ready for new ones"
    assert len(machine.taps) == 6


async def test_a_tap_of_no_vm_is_deleted(host: Host, machine: FakeNetlink) -> None:
    machine.taps = {"tap-11111111": False, "tap-pool-0": False}
    check = leaked_taps_check(host.context)
    found = await finding_of(check)
    assert (found.level, found.fixable) == (WARNING, True)
    assert found.remedy == "ip link delete tap-11111111"
    (found,) = await repaired(check)
    assert (found.level, found.fixed) == (OK, "deleted TAP tap-11111111")
    assert set(machine.taps) == {"tap-pool-0"}


async def test_taps_that_are_not_deleted(host: Host, machine: FakeNetlink) -> None:
    host.add_vm("x", KNOWN, VmState.STOPPED)
    machine.taps = {"tap-11111111": True, "tap-22222222": False, "tap-pool-0": True}
    found = await repaired(leaked_taps_check(host.context))
    assert [(f.level, f.fixable) for f in found] == [(WARNING, False)] * 3
    assert len(machine.taps) == 3


async def test_a_tap_that_is_being_made_is_no_leak(host: Host, machine: FakeNetlink) -> None:
    looks = iter([{"tap-pool-0": True}, {"tap-pool-0": False, "tap-pool-1": True}])
    listed = machine.list_taps

    def list_taps(bridge: str) -> list[Tap]:
        machine.taps = next(looks)
        return listed(bridge)

    machine.list_taps = list_taps  # type: ignore[method-assign]
    found = await finding_of(leaked_taps_check(host.context))
    assert (found.level, next(looks, None)) == (OK, None)


async def test_a_tap_is_spared_while_a_record_is_unreadable(
    host: Host, machine: FakeNetlink
) -> None:
    quarantine(host, "mangled")
    machine.taps = {"tap-11111111": False}
    (found,) = await repaired(leaked_taps_check(host.context))
    assert (found.level, found.fixable) == (WARNING, False)
    assert machine.taps


async def test_the_firewalls_entries(host: Host) -> None:
    host.add_vm("x", KNOWN)
    mac = "02:fc:00:00:00:01"
    pins = (Pin("tap-22222222", mac, "172.31.0.2"), Pin("tap-11111111", mac, "172.31.0.3"))
    host.firewall.answers[DescribeFirewall] = FirewallReport("banger0", pins, (), True)
    check = leaked_pins_check(host.context)
    found = await finding_of(check)
    assert (found.level, "tap-11111111" in found.summary) == (WARNING, True)
    await repaired(check)
    assert [r for r in host.firewall.asked if isinstance(r, UnpinTap)] == [UnpinTap("tap-11111111")]
    host.firewall.answers[DescribeFirewall] = FirewallReport("banger0", pins[:1], (), True)
    assert (await finding_of(check)).level is OK


# --- sockets, directories ---


async def test_socket_directories(host: Host) -> None:
    host.add_vm("x", KNOWN)
    for short in (KNOWN[:8], LOST[:8]):
        (host.paths.vm_runtime / short).mkdir()
        (host.paths.vm_runtime / short / "file").touch()
    check = leaked_runtime_check(host.context)
    found = await finding_of(check)
    assert (found.level, found.fixable) == (WARNING, True)
    (found,) = await repaired(check)
    assert found.level is OK
    assert found.fixed == f"removed {host.paths.vm_runtime / LOST[:8]}"
    assert [path.name for path in host.paths.vm_runtime.iterdir()] == [KNOWN[:8]]


async def test_sockets_somebody_listens_on_stay(host: Host, start: Start) -> None:
    directory = host.paths.vm_runtime / LOST[:8]
    directory.mkdir()
    start(socket_path=directory / "qmp.sock")
    (found,) = await repaired(leaked_runtime_check(host.context))
    assert (found.level, found.fixed) == (WARNING, "")
    assert "listens there" in found.summary
    assert directory.is_dir()


async def test_sockets_are_found_by_the_path_they_were_bound_with(
    host: Host, start: Start, tmp_path: Path
) -> None:
    """The runtime directory may be reached by a link."""
    link = tmp_path / "link"
    link.symlink_to(host.paths.runtime)
    host.paths = msgspec.structs.replace(host.paths, runtime=link)
    (host.paths.vm_runtime / LOST[:8]).mkdir()
    start(socket_path=host.paths.vm_runtime / LOST[:8] / "s")
    assert [seen.runtimes for seen in processes.scan(host.paths)] == [{LOST[:8]}]


async def test_sockets_of_a_stopped_vm(host: Host) -> None:
    host.add_vm("x", KNOWN, VmState.STOPPED)
    (host.paths.vm_runtime / KNOWN[:8]).mkdir()
    (found,) = await repaired(leaked_runtime_check(host.context))
    assert (found.level, found.fixable) == (WARNING, False)
    assert (host.paths.vm_runtime / KNOWN[:8]).is_dir()


async def test_unfinished_deletions(host: Host) -> None:
    for name in ("old", "now"):
        (host.paths.vms / f".deleting-{name}").mkdir()
    host.fleet.answers[ListVms] = [view("now", VmState.DELETING)]
    check = leaked_directories_check(host.context)
    assert (await finding_of(check)).fixable
    (found,) = await repaired(check)
    assert (found.level, found.fixed) == (OK, f"removed {host.paths.vms / '.deleting-old'}")
    assert [path.name for path in host.paths.vms.iterdir()] == [".deleting-now"]


async def test_unfinished_builds(host: Host, start: Start) -> None:
    old, new, busy = (host.paths.images / f".building-{name}" for name in ("old", "new", "busy"))
    for path in (old, new, busy):
        path.mkdir()
        (path / "build.log").touch()
    for path in (old, busy):
        os.utime(path / "build.log", (0, 0))
        os.utime(path, (0, 0))
    start(str(busy))
    (found,) = await repaired(leaked_directories_check(host.context))
    assert (found.level, found.fixed) == (OK, f"removed {old}")
    assert sorted(host.paths.images.iterdir()) == [busy, new]


async def test_a_directory_without_a_record_is_left_to_its_owner(host: Host) -> None:
    (host.paths.vms / "odd").mkdir()
    (host.paths.vms / "odd" / "root.qcow2").touch()
    (found,) = await repaired(leaked_directories_check(host.context))
    assert (found.level, found.fixable) == (WARNING, False)
    assert str(host.paths.vms / "odd") in found.summary
    assert (host.paths.vms / "odd" / "root.qcow2").exists()


async def test_a_directory_whose_record_is_just_being_written(host: Host) -> None:
    (host.paths.vms / "coming").mkdir()
    check = leaked_directories_check(host.context)
    assert (await finding_of(check)).level is WARNING
    host.fleet.answers[ListVms] = [view("coming", VmState.CREATING)]
    assert (await finding_of(check)).level is OK


async def test_a_repair_that_was_interrupted_is_finished(host: Host) -> None:
    (host.paths.vms / ".stale.deleting-x").mkdir()
    (host.paths.vm_runtime / ".stale.11111111").mkdir()
    for check in (leaked_directories_check(host.context), leaked_runtime_check(host.context)):
        (found,) = await repaired(check)
        assert (found.level, bool(found.fixed)) == (OK, True)
    assert [*host.paths.vms.iterdir(), *host.paths.vm_runtime.iterdir()] == []


# --- mounts, loop devices ---


async def test_mounts_and_loop_devices(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mounts, devices = tmp_path / "mountinfo", tmp_path / "block"
    monkeypatch.setattr(leaked_files, "MOUNTS", mounts)
    monkeypatch.setattr(leaked_files, "BLOCK_DEVICES", devices)
    spaced = str(host.paths.vms / "a b").replace(" ", "\\040")
    line = "25 1 0:22 / {} rw shared:1 - tmpfs tmpfs rw\n"
    mounts.write_text(line.format("/") + line.format(host.paths.state))
    check = leaked_mounts_check(host.context)
    assert (await finding_of(check)).level is OK
    mounts.write_text(line.format(spaced))
    backing = devices / "loop7" / "loop" / "backing_file"
    backing.parent.mkdir(parents=True)
    backing.write_text(f"{host.paths.images}/debian-1/root.ext4\n")
    mount, loop = await check.run()
    assert (mount.level, mount.remedy) == (WARNING, f"umount {host.paths.vms / 'a b'}")
    assert (loop.level, loop.remedy) == (WARNING, "losetup -d /dev/loop7")
