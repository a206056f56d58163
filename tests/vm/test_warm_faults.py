"""Warm creates that go wrong, and hosts that change below the seeds: a VM that works, or a boot."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from banger.model.requests.events import ReadEvents
from tests.vm.conftest import WARM, NewInstance
from tests.vm.faults import await_stage, vmm_pids
from tests.vm.instance import Instance, wait_until
from tests.vm.test_warm import seeds, stages

CROWD = 20
CROWD_S = 110
AT_ONCE = 4
YEAR_S = 365 * 24 * 3600
NEWEST = "find /run -xdev -printf '%T@\\n' | sort -n | tail -1"

ANOTHER_QEMU = """#!/bin/bash
# Another version; its template's clock is two years ahead.
case " $* " in
    *" -version "*) echo "QEMU emulator version 99.0 (of another make)"; exit ;;
    *" -name seed,"*) set -- "$@" -rtc "base=$(date -u -d '2 years' +%FT%T)" ;;
esac
exec {qemu} "$@"
"""


@pytest.fixture
def own(new_instance: NewInstance, warm_instance: Instance) -> Instance:
    """With a seed that the test may spoil."""
    own = new_instance(**WARM)
    own.take_seeds_of(warm_instance)
    own.run("daemon", "start")
    return own


def recorded_pid(instance: Instance, name: str) -> int:
    """Of the VM's VMM; sooner known than the daemon answers."""
    return int(json.loads(instance.record(name).read_text())["record"]["process"]["pid"])


@pytest.mark.parametrize("stage", ["vmm", "agent", "configure"])
def test_a_vmm_that_is_killed_costs_a_boot(own: Instance, stage: str) -> None:
    with own.connect() as events:
        events.begin(ReadEvents(follow=True))
        own.status()  # so the subscription is there
        client = own.start("vm", "create", "--name", "box")
        if stage == "vmm":
            await_stage(events, "box", "vmm")
            wait_until(lambda: bool(vmm_pids(own)), 10, "its VMM")
            (pid,) = vmm_pids(own)
        else:
            await_stage(events, "box", "agent")
            pid = recorded_pid(own, "box")
        if stage == "configure":
            # The guest would have answered by then.
            os.kill(pid, signal.SIGSTOP)
            await_stage(events, "box", "configure")
        os.kill(pid, signal.SIGKILL)
    _, stderr = client.communicate(timeout=60)
    assert client.returncode == 0, stderr
    notes = stages(own, "box")
    assert notes["seed"].startswith("warm: ")
    assert "booted after all, the seed failed" in notes["vmm"] + notes["configure"]
    assert own.sh("box", "hostname; findmnt -no SOURCE /root") == "box\n/dev/vdb\n"
    assert vmm_pids(own) == [own.show("box")["pid"]] != [pid]
    assert len(own.leased()) == 1
    # What was wrong is not known, so the seed is not trusted any more.
    assert seeds(own) == []
    assert not list(own.paths.seeds.glob("[!.]*"))


def test_many_at_once_while_their_seed_goes_and_comes(own: Instance) -> None:
    """The seed is dropped while some begin in it, and made anew beside those that are booted."""
    names = [f"crowd-{number}" for number in range(CROWD)]
    with own.connect() as events, ThreadPoolExecutor(CROWD) as pool:
        events.begin(ReadEvents(follow=True))
        own.status()
        clients = [
            pool.submit(own.run, "vm", "create", name, code=None, timeout=CROWD_S) for name in names
        ]
        await_stage(events, names[CROWD // 2], "configure")
        os.kill(recorded_pid(own, names[CROWD // 2]), signal.SIGKILL)
        failures = [done.stderr for client in clients if (done := client.result()).returncode]
    assert failures == []
    assert "seed-dropped" in {event["type"] for event in own.logged()}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ask = "hostname; cat /etc/machine-id"
        told = [said.split() for said in pool.map(lambda name: own.sh(name, ask), names)]
    assert [host for host, _ in told] == names
    assert len({machine_id for _, machine_id in told}) == CROWD
    own.run("vm", "delete", *names, timeout=CROWD_S)


def test_another_qemu_and_another_clock(own: Instance) -> None:
    """No VM begins in what another version saved, and none in the time of its template."""
    former = seeds(own)[0]["id"]
    own.run("daemon", "stop")
    binary = own.root / "qemu"
    qemu = shutil.which("qemu-system-x86_64")
    binary.write_text(ANOTHER_QEMU.replace("{qemu}", str(qemu)))
    binary.chmod(0o755)
    own.environ["BANGER_QEMU_BINARY"] = str(binary)
    own.environ["BANGER_QEMU_USER"] = "root"  # for whom the directory is
    own.run("vm", "create", "booted")
    assert stages(own, "booted")["seed"] == "cold: no seed of this image and shape yet"
    assert own.sh("booted", "hostname") == "booted\n"

    made = own.json("image", "warm", "debian")["id"]
    assert [seed["id"] for seed in seeds(own)] == [made] != [former]
    own.run("vm", "create", "warm")
    assert stages(own, "warm")["seed"] == f"warm: {made}"
    before = time.time()
    now, newest = own.sh("warm", f"date +%s; {NEWEST}").split()
    assert before - 2 < int(now) < time.time() + 2
    assert float(newest) > before + YEAR_S, "the template had our time"
    assert own.sh("warm", "systemctl is-system-running") == "running\n"
