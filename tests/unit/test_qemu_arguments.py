"""What QEMU is told: only what was planned, nothing probed, no path by name."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import msgspec
import pytest

from banger.model.machine import Card, DiskFormat, Drive
from banger.model.names import NAME_PATTERN
from banger.vmm.base import MachinePlan, Ram
from banger.vmm.qemu_arguments import AGENT_PORTS, Descriptors, qemu_arguments

SECRET = Path("/secret,file=/etc/shadow")
PLAN = MachinePlan(
    id="0123456789abcdef0123456789abcdef",
    name="web-1",
    vcpus=2,
    memory_mib=512,
    kernel=SECRET / "vmlinux",
    initramfs=SECRET / "initramfs",
    kernel_arguments=("banger.init=/sbin/init", "root=x"),
    drives=(
        Drive("root", SECRET / "root.qcow2", DiskFormat.OVERLAY, base=SECRET / "root.ext4"),
        Drive("work", SECRET / "work.raw", DiskFormat.RAW),
    ),
    cards=(Card("tap-01234567", "02:fc:ac:1f:00:05"),),
    runtime=SECRET / "run",
    log=SECRET / "qemu.log",
)
FDS = Descriptors(
    qmp=10,
    console=11,
    agent=tuple(range(20, 20 + AGENT_PORTS)),
    kernel=30,
    initramfs=31,
    drives=((40, 41), (42,)),
    cards=(50,),
)


def arguments(accelerator: str = "kvm", tsc_khz: int | None = None) -> list[str]:
    return qemu_arguments("/bin/qemu", PLAN, FDS, accelerator=accelerator, tsc_khz=tsc_khz)


def values(argv: list[str], flag: str) -> list[str]:
    return [value for key, value in itertools.pairwise(argv) if key == flag]


def value(argv: list[str], flag: str) -> str:
    (found,) = values(argv, flag)
    return found


@pytest.mark.parametrize("accelerator", ["kvm", "tcg"])
def test_nothing_but_what_was_planned(accelerator: str) -> None:
    argv = arguments(accelerator)
    assert {"-nodefaults", "-no-user-config"} <= set(argv)
    assert value(argv, "-display") == "none"
    sandbox = value(argv, "-sandbox").split(",")
    assert sandbox[0] == "on"
    assert {"elevateprivileges=deny", "spawn=deny", "resourcecontrol=deny"} <= set(sandbox)
    assert value(argv, "-machine").split(",")[0] == "microvm"
    assert value(argv, "-smp") == "2"
    assert value(argv, "-m") == "512"
    assert value(argv, "-uuid") == "01234567-89ab-cdef-0123-456789abcdef"
    assert not {"-hda", "-drive", "-vnc", "-qmp", "-monitor", "-net", "-nic"} & set(argv)


def test_no_path_is_given_by_name() -> None:
    """All files are open already: QEMU's user needs no right to any of them."""
    for argument in arguments()[1:]:
        assert "secret" not in argument
        assert "tap-" not in argument
        for path in re.findall(r"(?:^|=)(/[^,]*)", argument.partition(" ")[0]):
            assert re.fullmatch(r"/(dev/fdset|proc/self/fd)/\d+", path), argument
    assert value(arguments(), "-kernel") == "/proc/self/fd/30"
    assert value(arguments(), "-initrd") == "/proc/self/fd/31"


def test_disk_formats_are_stated() -> None:
    nodes = [
        dict(pair.split("=", 1) for pair in text.split(","))
        for text in values(arguments(), "-blockdev")
    ]
    by_name = {node["node-name"]: node for node in nodes}
    assert {name: node["driver"] for name, node in by_name.items()} == {
        **{"root": "qcow2", "root-file": "file", "root-base": "file"},
        **{"work": "raw", "work-file": "file"},
    }
    assert by_name["root"]["backing"] == "root-base"
    assert by_name["root-base"]["read-only"] == "on"
    assert "read-only" not in by_name["root-file"]
    sets = {
        pair["set"]: int(pair["fd"])
        for pair in (
            dict(item.split("=") for item in text.split(","))
            for text in values(arguments(), "-add-fd")
        )
    }
    opened = {
        name: sets[node["filename"].removeprefix("/dev/fdset/")]
        for name, node in by_name.items()
        if "filename" in node
    }
    assert opened == {"root-file": 40, "root-base": 41, "work-file": 42}
    devices = values(arguments(), "-device")
    for serial in ("root", "work"):
        assert (
            f"virtio-blk-device,drive={serial},serial={serial},werror=report,rerror=report"
            in devices
        )


def test_frozen_layers_lie_between_the_base_and_the_disk() -> None:
    root = Drive(
        "root", SECRET, DiskFormat.OVERLAY, base=SECRET, layers=(SECRET / "low", SECRET / "high")
    )
    plan = msgspec.structs.replace(PLAN, drives=(root,))
    fds = msgspec.structs.replace(FDS, drives=((40, 41, 42, 43),))
    argv = qemu_arguments("/bin/qemu", plan, fds, accelerator="tcg")
    nodes = [
        dict(pair.split("=", 1) for pair in text.split(",")) for text in values(argv, "-blockdev")
    ]
    below = {node["node-name"]: node.get("backing") for node in nodes if node["driver"] == "qcow2"}
    assert below == {
        "root": "root-layer1",
        "root-layer1": "root-layer0",
        "root-layer0": "root-base",
    }
    writable = {node["node-name"] for node in nodes if node.get("read-only") != "on"}
    assert writable == {"root", "root-file"}
    # The base first: a node must be there before another one lies on it.
    assert [text.split(",")[0] for text in values(argv, "-add-fd")] == [
        *("fd=43", "fd=42", "fd=41", "fd=40")
    ]


@pytest.mark.parametrize(("shared", "word"), [(True, "on"), (False, "off")])
def test_memory_in_a_file(shared: bool, word: str) -> None:
    plan = msgspec.structs.replace(PLAN, ram=Ram(SECRET, shared), balloon=False)
    fds = msgspec.structs.replace(FDS, ram=60)
    argv = qemu_arguments("/bin/qemu", plan, fds, accelerator="tcg")
    assert value(argv, "-object") == (
        f"memory-backend-file,id=ram,size=512M,mem-path=/proc/self/fd/60,share={word}"
    )
    assert "memory-backend=ram" in value(argv, "-machine").split(",")
    assert not any("balloon" in device for device in values(argv, "-device"))
    assert 60 in fds.all()


def test_a_machine_that_begins_in_a_saved_state_waits_for_it() -> None:
    assert not {"-incoming", "-S"} & set(arguments())
    plan = msgspec.structs.replace(PLAN, state=SECRET)
    argv = qemu_arguments("/bin/qemu", plan, FDS, accelerator="tcg")
    assert value(argv, "-incoming") == "defer"
    assert "-S" in argv


def test_every_descriptor_is_used_once_and_passed() -> None:
    text = "\n".join(arguments())
    used = [int(fd) for fd in re.findall(r"(?:\bfd=|/proc/self/fd/)(\d+)", text)]
    assert sorted(used) == sorted(FDS.all())
    assert len(set(used)) == len(used)


def test_sockets_and_agent_ports() -> None:
    chardevs = values(arguments(), "-chardev")
    assert f"socket,id=qmp,fd={FDS.qmp},server=on,wait=off" in chardevs
    assert all(re.fullmatch(r"socket,id=\w+,fd=\d+,server=on,wait=off", c) for c in chardevs)
    ports = [d for d in values(arguments(), "-device") if "virtserialport" in d]
    assert len(ports) == len(FDS.agent)
    for index, port in enumerate(ports):
        fields = port.split(",")
        assert f"name=org.banger.agent.{index}" in fields
        assert f"chardev=agent{index}" in fields
        assert f"nr={index + 1}" in fields


def test_card() -> None:
    assert value(arguments(), "-netdev") == "tap,id=net0,fd=50"
    assert "virtio-net-device,netdev=net0,mac=02:fc:ac:1f:00:05" in values(arguments(), "-device")


def test_accelerators_differ() -> None:
    kvm, tcg = arguments("kvm"), arguments("tcg", tsc_khz=2_400_000)
    assert value(kvm, "-accel") == "kvm"
    assert value(kvm, "-cpu") == "host"
    assert "pic=off,pit=off" in value(kvm, "-machine")
    assert value(tcg, "-accel").split(",")[0] == "tcg"
    assert re.search(r"tb-size=\d+", value(tcg, "-accel"))
    assert "pic=on,pit=on" in value(tcg, "-machine")
    assert {"tsc_early_khz=2400000", "tsc=nowatchdog"} <= set(value(tcg, "-append").split())
    assert "tsc" not in value(kvm, "-append")


def test_kernel_arguments() -> None:
    words = value(arguments(), "-append").split()
    assert words[0] == "console=ttyS0"
    assert words[-2:] == ["banger.init=/sbin/init", "root=x"]


def test_names_hold_nothing_that_qemu_would_take_for_an_option() -> None:
    """The name goes into a comma-separated argument as it is."""
    for character in map(chr, range(0x3000)):
        if re.match(NAME_PATTERN, f"a{character}b"):
            assert re.fullmatch("[a-z0-9-]", character)
    assert value(arguments(), "-name").split(",")[0] == "web-1"
