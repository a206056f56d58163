"""KVM or software emulation: asked once a boot, remembered, or told by the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.host import assets, process
from banger.vmm import accelerator as module
from banger.vmm.accelerator import Accelerator, tsc_khz

KERNEL = Path("/dev/null")


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A QEMU that can't run anything; ``record`` beside it has a line for each try."""
    monkeypatch.setattr(module, "_KVM", Path("/dev/null"))
    monkeypatch.setattr(assets, "agent_binary", lambda: Path("/dev/null"))
    path = tmp_path / "qemu"
    write_qemu(path, "exit 1")
    return path


def write_qemu(path: Path, program: str) -> None:
    path.write_text(f"#!/bin/sh\necho asked >>{path.parent}/record\n{program}\n")
    path.chmod(0o755)


def asked(qemu: Path) -> int:
    record = qemu.parent / "record"
    return len(record.read_text().splitlines()) if record.exists() else 0


def accelerator(qemu: Path, wanted: str = "auto") -> Accelerator:
    return Accelerator(wanted, str(qemu), qemu.parent / "memory")


@pytest.mark.parametrize("wanted", ["kvm", "tcg"])
def test_what_the_setting_says_is_not_probed(wanted: str, qemu: Path) -> None:
    chosen = accelerator(qemu, wanted)
    assert chosen.chosen == wanted
    assert chosen.choose(KERNEL) == wanted
    assert asked(qemu) == 0
    assert not (qemu.parent / "memory").exists()


def test_kvm_that_runs_a_guest(qemu: Path) -> None:
    write_qemu(qemu, "echo 'banger-init: PROBE OK'")
    first = accelerator(qemu)
    assert first.chosen is None
    assert first.choose(KERNEL) == first.chosen == "kvm"
    assert accelerator(qemu).choose(KERNEL) == first.choose(KERNEL) == "kvm"
    assert asked(qemu) == 1
    assert (qemu.parent / "memory").read_text().split() == [process.boot_id(), "kvm"]


@pytest.mark.parametrize("program", ["exit 1", "echo nothing", "echo 'KVM internal error' >&2"])
def test_kvm_that_runs_none(program: str, qemu: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_qemu(qemu, program)
    assert accelerator(qemu).choose(KERNEL) == "tcg"
    assert "no boundary against hostile guests" in caplog.text
    assert accelerator(qemu).choose(KERNEL) == "tcg"
    assert asked(qemu) == 1


def test_guest_that_hangs(qemu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_DEADLINE_S", 0.2)
    write_qemu(qemu, "exec sleep 60")
    assert accelerator(qemu).choose(KERNEL) == "tcg"


def test_qemu_that_is_missing(qemu: Path) -> None:
    qemu.unlink()
    assert accelerator(qemu).choose(KERNEL) == "tcg"


def test_without_the_device_nothing_is_started(qemu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KVM", qemu.parent / "no-such-device")
    assert accelerator(qemu).choose(KERNEL) == "tcg"
    assert asked(qemu) == 0


@pytest.mark.parametrize(
    "memory",
    [
        b"",
        b"another-boot kvm\n",
        b"kvm",
        b"BOOT hvf\n",
        b"BOOT kvm and more\n",
        b"\xff\xfe \xff",
    ],
)
def test_memory_that_does_not_count(memory: bytes, qemu: Path) -> None:
    path = qemu.parent / "memory"
    path.write_bytes(memory.replace(b"BOOT", process.boot_id().encode()))
    assert accelerator(qemu).choose(KERNEL) == "tcg"
    assert asked(qemu) == 1
    assert path.read_text().split() == [process.boot_id(), "tcg"]


def test_nothing_is_left_behind(qemu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(qemu.parent / "tmp"))
    (qemu.parent / "tmp").mkdir()
    accelerator(qemu).choose(KERNEL)
    assert list((qemu.parent / "tmp").iterdir()) == []


def test_frequency_of_the_time_stamp_counter() -> None:
    assert tsc_khz() is None or 100_000 < tsc_khz() < 10_000_000  # type: ignore[operator]
