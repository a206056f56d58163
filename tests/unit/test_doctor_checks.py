"""Each check of the host: what is well, what is a warning, what has failed."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from banger.actors.firewall import DescribeFirewall
from banger.actors.fleet import ListVms
from banger.actors.tap_pool import GetNetwork
from banger.capabilities.check import Check
from banger.capabilities.loader import Installed
from banger.doctor import (
    accelerator,
    checks,
    disk,
    firewall,
    image,
    memory,
    network,
    plugins,
    records,
    rights,
    tools,
    vmm,
)
from banger.doctor.run import OwnedCheck, refuse_unless_ready, run_checks
from banger.host.bridge import Bridge
from banger.host.user import User
from banger.kernel.errors import HostNotReady
from banger.model.finding import Finding, Level
from banger.model.firewall import FirewallReport, ForeignDrop, Pin
from banger.model.network import Network
from banger.model.vm import Verb, VmState
from tests.unit.doctor_context import Host, finding_of, view

OK, WARNING, FAILED = Level.OK, Level.WARNING, Level.FAILED


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def assert_has_remedy(finding: Finding) -> None:
    assert finding.summary
    assert finding.remedy


# --- tools, rights ---


async def test_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: set[str] = set()
    monkeypatch.setattr(tools, "find_program", lambda name: None if name in missing else name)
    assert (await finding_of(tools.tools_check())).level is OK
    missing.add("mmdebstrap")
    found = await finding_of(tools.tools_check())
    assert (found.level, found.remedy) == (WARNING, "apt-get install mmdebstrap")
    missing.add("nft")
    levels = {f.remedy: f.level for f in await tools.tools_check().run()}
    assert levels == {
        "apt-get install nftables": FAILED,
        "apt-get install mmdebstrap": WARNING,
    }


def test_programs_of_sbin_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert tools.find_program("mkfs.ext4") is not None
    assert tools.find_program("no-such-program") is None


async def test_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise HostNotReady("bangerd lacks CAP_NET_ADMIN", hint="be root")

    monkeypatch.setattr("banger.host.netlink.check_rights", lambda: None)
    assert (await finding_of(rights.rights_check())).level is OK
    monkeypatch.setattr("banger.host.netlink.check_rights", refuse)
    found = await finding_of(rights.rights_check())
    assert (found.level, found.summary, found.remedy) == (
        FAILED,
        "bangerd lacks CAP_NET_ADMIN",
        "be root",
    )


@pytest.mark.parametrize(
    ("uid", "user", "level", "word"),
    [
        (0, "banger-vmm", OK, "uid 7"),
        (0, "nobody", WARNING, "useradd"),
        (1000, "banger-vmm", WARNING, "as root"),
    ],
)
async def test_the_user_of_vmms(
    host: Host, monkeypatch: pytest.MonkeyPatch, uid: int, user: str, level: Level, word: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(rights, "vmm_user", lambda name: User(user, 7, 7))
    found = await finding_of(rights.user_check(host.context))
    assert found.level is level
    assert word in found.summary + found.remedy


# --- image, agent ---


async def test_no_image(host: Host) -> None:
    host.lacks_image()
    found = await finding_of(image.image_check(host.context))
    assert (found.level, found.remedy) == (FAILED, "banger image build debian")


async def test_a_whole_image(host: Host) -> None:
    host.add_image()
    found = await finding_of(image.image_check(host.context))
    assert (found.level, found.summary) == (OK, "debian: Debian 12, kernel 6.1")


@pytest.mark.parametrize("part", ["root", "kernel", "modules"])
async def test_an_image_that_lacks_a_part(host: Host, part: str) -> None:
    path: Path = getattr(host.add_image(), part)
    path.write_bytes(b"")
    found = await finding_of(image.image_check(host.context))
    assert (found.level, found.fixable) == (FAILED, False)
    assert str(path) in found.summary
    path.unlink()
    found = await finding_of(image.image_check(host.context))
    assert found.level is FAILED
    assert str(path) in found.summary


async def test_a_root_of_another_size(host: Host) -> None:
    host.add_image().root.write_bytes(b"short")
    found = await finding_of(image.image_check(host.context))
    assert found.level is FAILED
    assert "5 bytes" in found.summary


async def test_a_kernel_that_the_vmms_user_may_not_read(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "vmm_user", lambda name: User("banger-vmm", 54321, 54321))
    kernel = host.add_image().kernel
    kernel.chmod(0o600)
    check = image.image_check(host.context)
    found = await finding_of(check)
    assert (found.level, found.fixable) == (FAILED, True)
    assert found.remedy == f"chmod 644 {kernel}"
    (found,) = await run_checks([OwnedCheck(check)], fix=True)
    assert found.level is OK
    assert str(kernel) in found.fixed
    assert stat.S_IMODE(kernel.stat().st_mode) == 0o644


async def test_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("banger.host.assets.agent_binary", lambda: Path("/agent"))
    assert (await finding_of(image.agent_check())).level is OK

    def missing() -> Path:
        raise HostNotReady("not built", hint="run 'make setup'")

    monkeypatch.setattr("banger.host.assets.agent_binary", missing)
    found = await finding_of(image.agent_check())
    assert (found.level, found.remedy) == (FAILED, "run 'make setup'")


# --- VMM, accelerator ---


def program(directory: Path, script: str) -> Path:
    path = directory / "qemu"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


GOOD_QEMU = """
case "$*" in
    --version) echo "QEMU emulator version 8.2.1 (Debian)" ;;
    *"-machine help") echo "microvm   microvm (i386)" ;;
esac
"""


async def test_qemu_is_missing(host: Host) -> None:
    host.settings["qemu.binary"] = "no-such-qemu"
    found = await finding_of(vmm.vmm_check(host.context))
    assert found.level is FAILED
    assert "no-such-qemu" in found.summary
    assert "qemu-system-x86" in found.remedy


@pytest.mark.parametrize(
    ("script", "level", "word"),
    [
        (GOOD_QEMU, OK, "QEMU 8.2.1"),
        (GOOD_QEMU.replace("8.2.1", "5.2.0"), FAILED, "older than 7.0"),
        (GOOD_QEMU.replace("microvm", "pc"), FAILED, "microvm"),
        ('[ "$1" != -sandbox ] || exit 1\n' + GOOD_QEMU, FAILED, "seccomp"),
        ("echo nonsense", FAILED, "nonsense"),
        ("exit 3", FAILED, "exit code 3"),
    ],
)
async def test_what_qemu_can_do(
    host: Host, tmp_path: Path, script: str, level: Level, word: str
) -> None:
    host.settings["qemu.binary"] = str(program(tmp_path, script))
    assert (await finding_of(vmm.vmm_check(host.context))).level is OK
    found = await finding_of(vmm.vmm_abilities_check(host.context))
    assert found.level is level
    assert word in found.summary


async def test_qemu_is_asked_once(host: Host, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    host.settings["qemu.binary"] = str(program(tmp_path, f"echo x >>{asked}\n{GOOD_QEMU}"))
    for _ in range(3):
        await vmm.vmm_abilities_check(host.context).run()
    assert len(asked.read_text().splitlines()) == 3  # its three questions


@pytest.mark.parametrize(
    ("wanted", "answer", "level"),
    [
        ("auto", "kvm", OK),
        ("auto", "tcg", WARNING),
        ("tcg", None, WARNING),
        ("kvm", None, FAILED),
    ],
)
async def test_the_accelerator(
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    wanted: str,
    answer: str | None,
    level: Level,
) -> None:
    monkeypatch.setattr(accelerator, "KVM", tmp_path / "kvm")
    host.settings["qemu.accelerator"] = wanted
    host.driver.accelerator = answer
    found = await finding_of(accelerator.accelerator_check(host.context))
    assert found.level is level
    if wanted == "kvm":
        (tmp_path / "kvm").touch()
        assert (await finding_of(accelerator.accelerator_check(host.context))).level is OK


async def test_the_accelerator_is_not_guessed(host: Host) -> None:
    """Without QEMU or an image nothing is remembered, for it would be wrong later."""
    host.lacks_image()
    found = await finding_of(accelerator.accelerator_check(host.context))
    assert (found.level, "not known" in found.summary) == (WARNING, True)
    host.add_image()
    host.settings["qemu.binary"] = "no-such-qemu"
    found = await finding_of(accelerator.accelerator_check(host.context))
    assert (found.level, "not known" in found.summary) == (WARNING, True)
    assert not (host.paths.runtime / "accelerator").exists()


# --- network, firewall ---

NETWORK = Network("br-test", IPv4Interface("172.31.0.1/24"))


class FakeNetlink:
    def __init__(self) -> None:
        self.bridge: Bridge | None = Bridge("br-test", 2, NETWORK.gateway)
        self.routes: list[IPv4Network] = [IPv4Network("10.0.0.0/8")]

    def find_bridge(self, name: str) -> Bridge | None:
        return self.bridge

    def host_networks(self, *, except_bridge: str) -> list[IPv4Network]:
        return self.routes


async def test_the_network(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = FakeNetlink()
    monkeypatch.setattr(network, "netlink", machine)
    host.taps.answers[GetNetwork] = NETWORK
    check = network.network_check(host.context)
    assert (await finding_of(check)).level is OK
    machine.routes.append(IPv4Network("172.31.0.0/16"))
    found = await finding_of(check)
    assert (found.level, "172.31.0.0/16" in found.summary) == (WARNING, True)
    machine.bridge = Bridge("br-test", 2, IPv4Interface("172.31.9.1/24"))
    found = await finding_of(check)
    assert (found.level, "172.31.9.1/24" in found.summary) == (FAILED, True)
    machine.bridge = None
    found = await finding_of(check)
    assert (found.level, "has gone" in found.summary) == (FAILED, True)


async def test_the_firewall(host: Host) -> None:
    pins = (Pin("tap-1", "02:fc:00:00:00:01", "172.31.0.2"),)
    host.firewall.answers[DescribeFirewall] = FirewallReport("banger0", pins, ("nat",), True)
    found = await finding_of(firewall.firewall_check(host.context))
    assert (found.level, "nat" in found.summary) == (OK, True)
    host.firewall.answers[DescribeFirewall] = FirewallReport("banger0", pins, (), False)
    assert (await finding_of(firewall.firewall_check(host.context))).level is WARNING


async def test_other_firewalls(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    drops: list[ForeignDrop] = []
    monkeypatch.setattr(firewall, "foreign_drops", lambda bridge: drops)
    check = firewall.foreign_firewall_check(host.context)
    assert (await finding_of(check)).level is OK
    drops.append(ForeignDrop("docker", "ip filter", "FORWARD", "forward", "iptables -I …"))
    found = await finding_of(check)
    assert (found.level, found.remedy) == (WARNING, "iptables -I …")
    assert "docker" in found.summary


# --- disk, memory ---


def room(free: int, total: int, inodes: int = 10**6) -> Any:
    return SimpleNamespace(
        f_frsize=1, f_bavail=free, f_blocks=total, f_files=10**7, f_favail=inodes
    )


GIB = 1 << 30


@pytest.mark.parametrize(
    ("status", "level"),
    [
        (room(50 * GIB, 100 * GIB), OK),
        (room(5 * GIB, 100 * GIB), WARNING),
        (room(GIB, 3 * GIB), WARNING),
        (room(GIB // 8, GIB // 2), FAILED),
        (room(50 * GIB, 100 * GIB, inodes=3), WARNING),
        (SimpleNamespace(**(vars(room(50 * GIB, 100 * GIB, 0)) | {"f_files": 0})), OK),
    ],
)
async def test_disk(host: Host, monkeypatch: pytest.MonkeyPatch, status: Any, level: Level) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: status)
    found = await disk.disk_check(host.context).run()
    assert [f.level for f in found] == [level, level]
    assert str(host.paths.state) in found[0].summary
    assert str(host.paths.cache) in found[1].summary


async def test_reflink(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(host.paths.state.rglob("*"))
    for able, word in ((True, "shares blocks"), (False, "no reflink")):
        monkeypatch.setattr(disk, "can_reflink", lambda directory, able=able: able)
        found = await finding_of(disk.reflink_check(host.context))
        assert (found.level, word in found.summary) == (OK, True)
    monkeypatch.undo()
    assert disk.can_reflink(Path("/dev/shm")) is False
    disk.can_reflink(host.paths.state)
    assert sorted(host.paths.state.rglob("*")) == before


async def test_memory(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal:  1048576 kB\nMemAvailable:  524288 kB\n")
    (tmp_path / "7").mkdir()
    running = view("a", VmState.RUNNING, pid=7, memory_mib=768)
    host.fleet.answers[ListVms] = [running, view("b", VmState.STOPPED, memory_mib=4096)]
    check = memory.memory_check(host.context)
    found = await finding_of(check)
    assert (found.level, "1 running VM" in found.summary) == (WARNING, True)
    # What it has already counts no more.
    pages = (300 << 20) // os.sysconf("SC_PAGE_SIZE")
    (tmp_path / "7/statm").write_text(f"999999 {pages} 0 0 0 0 0\n")
    assert (await finding_of(check)).level is OK
    host.fleet.answers[ListVms] = []
    assert "no VM runs" in (await finding_of(check)).summary


# --- records, VMs, plugins ---


async def test_records(host: Host) -> None:
    host.add_image()
    host.add_vm("good", "a" * 32)
    host.fleet.answers[ListVms] = []
    check = records.records_check(host.context)
    found = await finding_of(check)
    assert (found.level, found.summary) == (OK, "all readable: 1 VMs, 1 images")
    bad = host.add_vm("bad", "b" * 32)
    (host.store.directory(bad.name) / "record.json").write_text("{")
    found = await finding_of(check)
    assert (found.level, "vms/bad" in found.summary) == (WARNING, True)
    assert_has_remedy(found)
    host.fleet.answers[ListVms] = [view("bad", VmState.CREATING)]
    assert (await finding_of(check)).level is OK


async def test_a_vm_whose_image_is_gone(host: Host) -> None:
    host.fleet.answers[ListVms] = []
    host.add_vm("orphan", "a" * 32)
    found = await finding_of(records.records_check(host.context))
    assert (found.level, "'orphan'" in found.summary) == (FAILED, True)


async def test_vms(host: Host) -> None:
    host.fleet.answers[ListVms] = [
        view("a", VmState.RUNNING),
        view("b", VmState.CRASHED, reason="it fell"),
        view("c", VmState.FAILED, reason="given up"),
    ]
    crashed, failed = await records.vms_check(host.context).run()
    assert (crashed.level, crashed.remedy) == (WARNING, "banger vm start b")
    assert (failed.level, failed.remedy) == (WARNING, "banger vm delete c")
    assert "it fell" in crashed.summary
    host.fleet.answers[ListVms] = [view("a", VmState.RUNNING)]
    found = await finding_of(records.vms_check(host.context))
    assert (found.level, found.summary) == (OK, "1 VMs, 1 of them running")


async def test_plugins(host: Host) -> None:
    assert (await finding_of(plugins.plugins_check(host.context))).level is OK
    host.installed = [
        Installed("dns", "banger-dns", "1", None, "raised ImportError"),
        Installed("nat", "banger-nat", "1", None, "turned off by the setting plugins.disabled"),
    ]
    host.settings["plugins.disabled"] = "nat"
    broken, off = await plugins.plugins_check(host.context).run()
    assert (broken.level, off.level) == (WARNING, OK)
    assert "banger-dns" in broken.summary
    assert "raised ImportError" in broken.summary


# --- all together ---


class FakeCapability:
    def __init__(self, *found: Check) -> None:
        self._checks = found

    def checks(self) -> Sequence[Check]:
        return self._checks


class RaisingCapability:
    def checks(self) -> Sequence[Check]:
        raise ValueError("no checks today")


async def test_checks_of_capabilities(host: Host) -> None:
    async def failing() -> Sequence[Finding]:
        return [Finding("zone", FAILED, "port 53 is taken", "free it")]

    check = Check("zone", failing, before=frozenset({Verb.START}))
    host.capabilities = {"bad": RaisingCapability(), "dns": FakeCapability(check)}
    found = await run_checks(checks.capability_checks(host.context), fix=False)
    assert [(f.check, f.level) for f in found] == [("bad", FAILED), ("zone", FAILED)]
    assert "no checks today" in found[0].summary
    with pytest.raises(HostNotReady, match="port 53 is taken"):
        await refuse_unless_ready(checks.capability_checks(host.context), Verb.START)


async def test_the_checks_before_a_start_are_quick(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    host.settings["qemu.binary"] = str(program(tmp_path, f"touch {ran}"))
    monkeypatch.setattr("banger.host.netlink.check_rights", lambda: None)
    monkeypatch.setattr("banger.host.assets.agent_binary", lambda: Path("/agent"))
    durations = []
    for _ in range(20):
        begun = time.perf_counter()
        await refuse_unless_ready(checks.checks_before_start(host.context), Verb.START)
        durations.append(time.perf_counter() - begun)
    assert min(durations) < 0.005
    assert not ran.exists()


async def test_every_name_is_there_once(host: Host) -> None:
    names = [owned.check.name for owned in checks.all_checks(host.context, leaks=True)]
    assert len(set(names)) == len(names)
    assert {name for name in names if name.startswith("leaks.")}
    assert not any(
        owned.check.name.startswith("leaks.") for owned in checks.all_checks(host.context)
    )
    before = [o.check.name for o in checks.checks_before_start(host.context)]
    assert before == [
        owned.check.name
        for owned in checks.all_checks(host.context)
        if Verb.START in owned.check.before
    ]
