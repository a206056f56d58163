"""What may differ between a saved machine and one that begins in its state, and what may not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest

from banger.kernel.errors import HostNotReady
from banger.model.machine import Card, DiskFormat, Drive
from banger.vmm.base import MachinePlan, Ram
from banger.vmm.qemu_likeness import likeness

PLAN = MachinePlan(
    id="0" * 32,
    name="web",
    vcpus=1,
    memory_mib=256,
    kernel=Path("/kernel"),
    initramfs=Path("/initramfs"),
    kernel_arguments=("a=b",),
    drives=(Drive("root", Path("/root.qcow2"), DiskFormat.OVERLAY, base=Path("/base")),),
    cards=(Card("tap-1", "02:fc:00:00:00:01"),),
    runtime=Path("/run"),
    log=Path("/log"),
)


@pytest.fixture
def qemu(tmp_path: Path) -> Path:
    return program(tmp_path / "qemu", "QEMU emulator version 7.2.0")


def program(path: Path, version: str) -> Path:
    path.write_text(f"#!{sys.executable}\nprint({version!r})\n")
    path.chmod(0o755)
    return path


def test_names_files_and_places_may_differ(qemu: Path) -> None:
    root = Drive("root", Path("/x"), DiskFormat.OVERLAY, base=Path("/y"), layers=(Path("/frozen"),))
    other = msgspec.structs.replace(
        PLAN,
        id="1" * 32,
        name="db",
        kernel=Path("/k2"),
        initramfs=Path("/i2"),
        drives=(root,),
        cards=(Card("", "02:fc:00:00:00:02"),),
        runtime=Path("/run2"),
        ram=Ram(Path("/ram"), shared=False),
        state=Path("/state"),
        background=True,
    )
    assert likeness(str(qemu), PLAN, "tcg") == likeness(str(qemu), other, "tcg")


@pytest.mark.parametrize(
    "change",
    [
        {"vcpus": 2},
        {"memory_mib": 512},
        {"kernel_arguments": ()},
        {"drives": ()},
        {"cards": ()},
        {"balloon": False},
        {"drives": (Drive("work", Path("/x"), DiskFormat.OVERLAY, base=Path("/y")),)},
    ],
)
def test_shape_and_devices_may_not(qemu: Path, change: dict[str, object]) -> None:
    other = msgspec.structs.replace(PLAN, **change)
    assert likeness(str(qemu), PLAN, "tcg") != likeness(str(qemu), other, "tcg")


def test_accelerator_and_version_may_not(qemu: Path, tmp_path: Path) -> None:
    before = likeness(str(qemu), PLAN, "tcg")
    assert likeness(str(qemu), PLAN, "kvm") != before
    program(qemu, "QEMU emulator version 8.2.0")
    os.utime(qemu, ns=(1, 1))
    upgraded = likeness(str(qemu), PLAN, "tcg")
    assert upgraded != before
    assert upgraded.startswith("QEMU emulator version 8.2.0")


def test_a_program_that_is_no_qemu_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "qemu"
    path.write_text("#!/bin/false\n")
    path.chmod(0o755)
    with pytest.raises(HostNotReady, match="does not tell its version"):
        likeness(str(path), PLAN, "tcg")
