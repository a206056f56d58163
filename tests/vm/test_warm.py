"""VMs that begin in a warm seed: what they share, what they don't, and what happens without one."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import WARM, NewInstance
from tests.vm.instance import Instance, wait_until

CLONES = 20
AT_ONCE = 4
MAKING_S = 120
ETH_P_ALL = 0x0003
CLONE_NEWNET = 0x40000000

FACTS = """
echo machine-id $(cat /etc/machine-id)
echo boot-id $(cat /proc/sys/kernel/random/boot_id)
echo host-key $(cat /etc/ssh/ssh_host_ed25519_key.pub)
echo urandom $(head -c 16 /dev/urandom | od -An -tx1)
echo id128 $(systemd-id128 new)
echo kernel-uuid $(cat /proc/sys/kernel/random/uuid)
echo mac $(cat /sys/class/net/eth0/address)
echo address $(hostname -I)
echo hostname $(hostname)
bash -c 'exec 3<>/dev/tcp/{gateway}/53'
"""


@pytest.fixture(scope="module")
def warm(warm_instance: Instance) -> Instance:
    return warm_instance


@pytest.fixture
def clones(warm: Instance) -> Iterator[list[str]]:
    names = [f"clone-{number}" for number in range(CLONES)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(warm.create, names))
    yield names
    warm.run("vm", "delete", *names)


def stages(instance: Instance, name: str) -> dict[str, str]:
    """The notes of the stages of the VM's creation."""
    notes: dict[str, str] = {}
    for event in instance.logged():
        if event["type"] == "stage-finished" and event["vm"] == name:
            notes[event["stage"]] = event["note"]
    return notes


def seeds(instance: Instance) -> list[dict[str, Any]]:
    """Of the usual shape."""
    found: list[dict[str, Any]] = instance.json("image", "show", "debian")["seeds"]
    return [seed for seed in found if seed["memory_mib"] == 256]


def seed_directory(instance: Instance) -> Path:
    return instance.paths.seeds / str(seeds(instance)[0]["id"])


def test_clones_share_nothing_that_must_differ(warm: Instance, clones: list[str]) -> None:
    gateway = warm.status()["subnet"].partition("/")[0].rpartition(".")[0] + ".1"
    script = FACTS.replace("{gateway}", gateway)
    with sequence_starts(warm) as starts:
        facts = [parsed(warm.sh(name, script)) for name in clones]
        wait_until(lambda: len(starts) == CLONES, 5, "a connection from each")
    for fact in facts[0]:
        values = [found[fact] for found in facts]
        assert len(set(values)) == CLONES, (fact, values)
    assert len(set(starts.values())) == CLONES
    # Not one template's counter that goes up with time and nothing else.
    ordered = sorted(starts.values())
    assert ordered[-1] - ordered[0] > 1 << 28
    views = {name: warm.show(name) for name in clones}
    for name, found in zip(clones, facts, strict=True):
        assert found["machine-id"] == views[name]["id"]
        assert found["mac"] == views[name]["mac"]
        assert found["address"].split()[0] == views[name]["address"]
        assert found["hostname"] == name
        assert stages(warm, name)["seed"].startswith("warm: ")


def parsed(output: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in output.splitlines())


@contextlib.contextmanager
def sequence_starts(instance: Instance) -> Iterator[dict[str, int]]:
    """The first sequence number of each address that opens a connection, as the bridge sees it."""
    found: dict[str, int] = {}
    stop_read, stop_write = os.pipe()
    with ThreadPoolExecutor(1) as inside, inside.submit(open_bridge, instance).result() as bridge:

        def listen() -> None:
            while bridge.fileno() in select.select([bridge.fileno(), stop_read], [], [])[0]:
                frame = bridge.recv(2048)
                # IPv4, without options, TCP, and of its flags SYN only.
                if frame[12:15] == b"\x08\x00\x45" and frame[23] == 6 and frame[47] & 0x12 == 2:
                    found.setdefault(
                        socket.inet_ntoa(frame[26:30]), struct.unpack("!I", frame[38:42])[0]
                    )

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield found
        finally:
            os.write(stop_write, b"x")
            listener.join()
            os.close(stop_read)
            os.close(stop_write)


def open_bridge(instance: Instance) -> socket.socket:
    """A thread enters the instance's namespace for good; its sockets stay there."""
    with instance.namespace.open() as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    bridge = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    bridge.bind(("banger0", 0))
    return bridge


@pytest.fixture(scope="module")
def kept(warm: Instance) -> Iterator[str]:
    """One that the tests below use in turn."""
    warm.create("kept", "--disk", "6G", "--work-size", "12G")
    yield "kept"
    warm.run("vm", "delete", "kept")


def test_a_clone_is_as_if_booted(warm: Instance, kept: str) -> None:
    notes = stages(warm, kept)
    assert notes["seed"] == f"warm: {seeds(warm)[0]['id']}"
    script = "date +%s; stat -fc '%b %S' / /root; cat /etc/hosts; systemctl is-system-running"
    now, root, work, *hosts, state = warm.sh(kept, script, code=None).splitlines()
    assert abs(int(now) - time.time()) < 5
    for size, gib in ((root, 6), (work, 12)):
        blocks, block_bytes = map(int, size.split())
        assert 0.9 * (gib << 30) < blocks * block_bytes < gib << 30
    assert any(kept in line for line in hosts)
    assert state == "running"


def test_ssh_finds_the_pinned_host_key(warm: Instance, kept: str) -> None:
    warm.run("vm", "wait", kept, "--for", "ssh")
    assert warm.run("vm", "ssh", kept, "--", "hostname").stdout.strip() == kept


def test_the_next_daemon_adopts_it_and_its_seed_stays(warm: Instance, kept: str) -> None:
    pid = warm.show(kept)["pid"]
    warm.signal_daemon(signal.SIGKILL)
    assert warm.show(kept)["pid"] == pid
    assert warm.sh(kept, "hostname").strip() == kept
    assert warm.json("image", "prune")["seeds"] == []
    (seed,) = seeds(warm)
    assert seed["vms"] == [kept]
    assert seed["allocated_bytes"] < 128 << 20


def test_a_reboot_brings_its_own_configuration(warm: Instance, kept: str) -> None:
    view = warm.show(kept)
    boot_id = warm.sh(kept, "cat /proc/sys/kernel/random/boot_id")
    warm.sh(kept, "echo mine >/root/file; sync; systemctl reboot", code=None)

    def rebooted() -> bool:
        done = warm.run(
            *("vm", "exec", kept, "--", "cat", "/proc/sys/kernel/random/boot_id"), code=None
        )
        return done.returncode == 0 and done.stdout != boot_id

    wait_until(rebooted, 60, "the guest to reboot")
    said = warm.sh(kept, "hostname; cat /etc/machine-id /sys/class/net/eth0/address /root/file")
    assert said.split() == [kept, view["id"], view["mac"], "mine"]
    assert warm.show(kept)["pid"] == view["pid"]


def test_a_start_boots_from_what_the_disk_has_become(warm: Instance, kept: str) -> None:
    key = warm.sh(kept, "cat /etc/ssh/ssh_host_ed25519_key.pub")
    warm.run("vm", "stop", kept, "--force")
    warm.run("vm", "start", kept)
    assert warm.sh(kept, "cat /etc/ssh/ssh_host_ed25519_key.pub") == key
    assert warm.sh(kept, "cat /root/file").strip() == "mine"


def test_another_shape_is_booted(warm: Instance) -> None:
    warm.run("vm", "create", "--name", "shape", "--memory", "192")
    assert stages(warm, "shape")["seed"] == "cold: no seed of this image and shape yet"
    warm.run("vm", "delete", "shape")
    # That made one for the next; it is not waited for, and a daemon that ends gives it up.
    warm.run("daemon", "stop")
    assert [path for path in warm.paths.seeds.iterdir() if path.name.startswith(".making")] == []


def test_a_seed_is_made_once_and_told_of(warm: Instance) -> None:
    before = seeds(warm)
    again = warm.json("image", "warm", "debian")
    assert again["id"] == before[0]["id"]
    assert "warm seeds" in warm.run("image", "show", "debian").stdout


@pytest.mark.parametrize("harm", ["truncated", "changed", "state"])
def test_a_harmed_seed_costs_a_boot_and_no_more(
    new_instance: NewInstance, warm: Instance, harm: str
) -> None:
    own = new_instance(**WARM)
    own.take_seeds_of(warm)
    files = seed_directory(own)
    if harm == "truncated":
        os.truncate(own_copy(files / "ram"), 4096)
    elif harm == "changed":
        change_a_page(own_copy(files / "ram"))
    else:
        own_copy(files / "state").write_bytes(b"no state")
    own.run("vm", "create", "--name", "box")
    assert re.match(r"cold: its seed was dropped: .*/(ram|state)", stages(own, "box")["seed"])
    assert own.sh("box", "hostname").strip() == "box"
    assert not files.exists()
    assert "seed-dropped" in own.paths.event_log.read_text()


def test_a_state_that_qemu_does_not_take_costs_a_boot(
    new_instance: NewInstance, warm: Instance
) -> None:
    """As after a change of QEMU that its version does not show."""
    own = new_instance(**WARM)
    own.take_seeds_of(warm)
    files = seed_directory(own)
    state = own_copy(files / "state")
    state.write_bytes(state.read_bytes()[:4096])
    record = own_copy(files / "record.json")
    document = json.loads(record.read_text())
    digest = subprocess.run(["sha256sum", state], capture_output=True, text=True, check=True)
    document["record"]["state_digest"] = digest.stdout.split()[0]
    record.write_text(json.dumps(document))
    own.run("vm", "create", "--name", "box")
    notes = stages(own, "box")
    assert notes["seed"].startswith("warm: ")
    assert "booted after all, the seed failed" in " ".join(notes.values())
    assert own.sh("box", "hostname").strip() == "box"
    assert not files.exists()


def test_a_maker_that_was_killed_leaves_nothing(new_instance: NewInstance) -> None:
    own = new_instance(**WARM)
    own.run("daemon", "start")
    client = own.start("image", "warm", "debian")
    wait_until(lambda: bool(list(own.paths.seed_runtime.glob("*/qmp.sock"))), 20, "its VMM")
    own.signal_daemon(signal.SIGKILL)
    client.wait()
    assert list(own.paths.seeds.glob(".making-*"))
    own.run("daemon", "start")
    wait_until(lambda: not list(own.paths.seeds.glob(".making-*")), 10, "its files to go")
    wait_until(lambda: not own.paths.seed_runtime.exists(), 10, "its sockets to go")
    assert own.tool("pgrep", "--ns", str(own.daemon_pid), "--nslist", "net", "qemu", code=1) == ""
    assert own.json("doctor", "--leaks")


def test_a_full_disk_makes_no_seed(new_instance: NewInstance) -> None:
    own = new_instance(**WARM)
    own.paths.seeds.mkdir(mode=0o700)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "seeds", own.paths.seeds], check=True
    )
    try:
        said = own.run("image", "warm", "debian", code=5).stderr
        assert "can't be written: No space left on device" in said.splitlines()[-1]
        assert [path.name for path in own.paths.seeds.iterdir()] == []
        own.run("daemon", "stop")
    finally:
        subprocess.run(["umount", own.paths.seeds], check=True)


def own_copy(path: Path) -> Path:
    """The file is linked from another instance's."""
    data = path.with_name("copy")
    subprocess.run(["cp", "--sparse=always", path, data], check=True)
    data.replace(path)
    return path


def change_a_page(path: Path) -> None:
    with path.open("r+b") as file:
        at = os.lseek(file.fileno(), 0, os.SEEK_DATA)
        byte = os.pread(file.fileno(), 1, at)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1]), at)
