"""A real guest whose init is runit, made by the Void recipe from a root tarball.

No Void is reachable where the tests run: the tarball is Debian's runit on the tree of the
Debian image, laid out as Void's (plugins/void/tests/runit_base). Recipe, capability and agent are
the same as for Void.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance, is_alive

TOP = Path(__file__).parents[2]
MAKE = TOP / "plugins/void/tests/runit_base/make"
PACKAGES = TOP / ".cache/runit"
POWERED_OFF = "reboot: Power down"
IMAGE_DEADLINE_S = 90


@pytest.fixture(scope="module")
def tarball(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root tarball."""
    disk = sorted(images.glob("debian-*/root.ext4"))[-1]
    made = tmp_path_factory.mktemp("void") / "runit.tar"
    done = subprocess.run(
        [MAKE, disk, PACKAGES, made], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr[-500:]
    return made


@pytest.fixture
def void(new_instance: NewInstance, tarball: Path) -> Instance:
    """An installation with an image ``void``."""
    instance = new_instance(BANGER_CAPABILITIES_VOID_ROOTFS_TARBALL=str(tarball))
    done = instance.run("image", "build", "void", timeout=IMAGE_DEADLINE_S)
    assert "Debian with runit, laid out as Void" in done.stdout
    assert instance.json("image", "show", "void")["work_seed"]
    return instance


def timed(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def test_a_life_under_runit(void: Instance) -> None:
    view = void.create("runit", "--image", "void")
    assert (view["state"], view["image"]) == ("running", "void")
    assert void.sh("runit", "cat /proc/1/comm; hostname") == "runit\nrunit\n"
    assert void.sh("runit", "grep /root /proc/mounts").split()[:2] == ["/dev/vdb", "/root"]
    void.run("vm", "wait", "runit", "--for", "ssh", "--timeout", "60")
    status = void.run("vm", "ssh", "runit", "--", "sv status sshd; echo $SHELL; readlink /bin/sh")
    assert status.stdout.startswith("run: sshd: (pid ")
    assert status.stdout.splitlines()[-2:] == ["/bin/bash", "dash"]
    # Stage 1 wanted the root file system read-only for a while, and listed it here if it was.
    assert void.sh("runit", "cat /run/read-only") == ""
    assert void.sh("runit", "ls /var/service; grep -c '^root:[*]:' /etc/shadow") == "sshd\n1\n"
    assert (
        void.sh("runit", "uname -r; ls /lib/modules").split()
        == [void.json("image", "show", "void")["kernel_version"]] * 2
    )

    void.sh("runit", "echo kept >/root/file; rm /etc/sv/banger-sshd/run")
    assert timed(lambda: void.run("vm", "stop", "runit")) < 15
    stopped = void.show("runit")
    assert (stopped["state"], stopped["reason"]) == ("stopped", "")
    assert not is_alive(view["pid"])
    assert console_order(
        void, "leave stage: /etc/runit/2", "leave stage: /etc/runit/3", POWERED_OFF
    )

    void.run("vm", "start", "runit")
    # Stage 3 has run to its end and left a clean file system; what every start lays down is back.
    void.run("vm", "wait", "runit", "--for", "ssh", "--timeout", "60")
    kept = void.sh(
        "runit", "cat /root/file /var/log/stages; dmesg | grep -ci 'ext4.*recover'", code=1
    )
    assert kept == "kept\nstage 3\n0\n"
    assert void.run("vm", "ssh", "runit", "--", "true").stdout == ""

    # What is asked in stage 1, runit forgets. Here that stage takes long.
    void.sh("runit", "echo 'sleep 4' >/etc/runit/core-services/05-slow.sh")
    void.run("vm", "restart", "runit")
    assert timed(lambda: void.run("vm", "stop", "runit")) < 20
    assert void.show("runit")["reason"] == ""
    assert console_order(
        void, "signals only work in stage 2", "leave stage: /etc/runit/3", POWERED_OFF
    )
    void.run("vm", "delete", "runit")


def console_order(void: Instance, *lines: str) -> bool:
    """The console's last boot has these lines, in this order."""
    text = void.run("vm", "logs", "runit").stdout
    last = text[text.rindex("banger-init: root mounted") :]
    places = [last.find(line) for line in lines]
    return -1 not in places and places == sorted(places)
