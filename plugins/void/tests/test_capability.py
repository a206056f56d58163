"""Which guests are set up for runit, and with what."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from banger.capabilities import Setting, Vm, VmState
from banger.capabilities.guest import GuestBuilder
from banger.capabilities.loader import find_capabilities
from banger.capabilities.options import with_changes
from banger.model.guest import GuestConfig

from banger_void.capability import Void
from banger_void.guest_files import DIRECTORY
from banger_void.options import VoidOptions

SERVICE = "/etc/runit/core-services/00-banger.sh"


class _Host:
    """As much of a host as the capability asks for."""

    def __init__(self, images: str) -> None:
        self.settings = self
        self._images = images

    def text(self, name: str) -> str:
        return {"images": self._images}[name]


def contributed(image: str, options: VoidOptions, images: str = "void, mine") -> GuestConfig:
    host: Any = _Host(images)
    vm = Vm("", "v", image, VmState.STARTING, {}, Path("/"), "", "", "", None)
    builder = GuestBuilder()
    Void(host).contribute(vm, options, builder.by("void"))
    return builder.build().config


def given(flag: bool | None) -> VoidOptions:
    return with_changes("void", VoidOptions(), {"runit": flag}, VoidOptions)


@pytest.mark.parametrize(
    ("image", "flag", "wanted"),
    [
        ("void", None, True),
        ("mine", None, True),
        ("debian", None, False),
        ("debian", True, True),
        ("void", False, False),
    ],
)
def test_the_flag_then_the_image_decides(image: str, flag: bool | None, wanted: bool) -> None:
    assert bool(contributed(image, given(flag)).files) is wanted


def test_no_images_at_all() -> None:
    assert contributed("", given(None), images=" ,") == contributed("debian", given(False))


def test_the_files() -> None:
    files = {file.path: file for file in contributed("void", given(None)).files}
    assert set(files) == {SERVICE, "/etc/sv/banger-sshd/run"}
    assert files[SERVICE].mode == 0o644
    assert files["/etc/sv/banger-sshd/run"].mode == 0o755
    for path, file in files.items():
        assert file.data == (DIRECTORY / path[1:]).read_bytes()


def test_it_is_found_and_usable() -> None:
    (found,) = [item for item in find_capabilities() if item.name == "void"]
    assert (found.found, found.reason, found.distribution) == (Void, "", "banger-void")


def test_the_settings_are_the_variables_the_recipe_reads() -> None:
    def variable(setting: Setting) -> str:
        return Setting(f"capabilities.void.{setting.key}", "", "").variable

    text = (DIRECTORY.parent / "rootfs/build").read_text()
    for setting in Void.settings:
        assert (variable(setting) in text) is (setting.key != "images"), setting.key


def sourced(root: Path, script: str) -> str:
    """Run a script in a shell that has sourced the core service with its paths below ``root``."""
    service = root / "service.sh"
    text = (DIRECTORY / SERVICE[1:]).read_text()
    text = text.replace("/etc/", f"{root}/etc/").replace("/var/", f"{root}/var/")
    service.write_text(text)
    done = subprocess.run(
        ["sh", "-euc", f"PATH={root}/bin:$PATH\n. {service}\n{script}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_root_stays_writable_and_other_mounts_are_made(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/mount"
    program.write_text('#!/bin/sh\necho "mount $*"\n')
    program.chmod(0o755)
    script = """
        mount -o remount,ro / || echo emergency
        LIBMOUNT_FORCE_MOUNT2=always mount -o remount,ro / || echo emergency
        mount -o remount,rw /
        mount -a -t nosysfs,nonfs
    """
    assert sourced(tmp_path, script) == "mount -o remount,rw /\nmount -a -t nosysfs,nonfs\n"


def test_services_are_set_up_once(tmp_path: Path) -> None:
    level = tmp_path / "etc/runit/runsvdir/default"
    level.mkdir(parents=True)
    for name in ("agetty-tty1", "getty-ttyS0", "udevd"):
        (level / name).symlink_to(f"/etc/sv/{name}")
    sourced(tmp_path, "")
    assert {path.name for path in level.iterdir()} == {"sshd", "udevd"}
    supervise = tmp_path / "etc/sv/banger-sshd/supervise"
    assert str(supervise.readlink()) == "/run/runit/supervise.banger-sshd"

    (level / "sshd").unlink()
    (level / "agetty-ttyS0").symlink_to("/etc/sv/agetty-ttyS0")
    sourced(tmp_path, "")
    assert {path.name for path in level.iterdir()} == {"agetty-ttyS0", "udevd"}


def test_an_sshd_that_is_on_already_stays(tmp_path: Path) -> None:
    (tmp_path / "etc/sv/sshd").mkdir(parents=True)
    level = tmp_path / "etc/runit/runsvdir/default"
    level.mkdir(parents=True)
    (level / "sshd").symlink_to(tmp_path / "etc/sv/sshd")
    sourced(tmp_path, "")
    assert (level / "sshd").readlink() == tmp_path / "etc/sv/sshd"
