"""Records that can't be read or are not true: only their own VM is concerned."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.host import process
from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_the_future(path: Path) -> None:
    edit(path, lambda document: document.update(version=99))


def with_another_type(path: Path) -> None:
    edit(path, lambda document: document["record"].update(created_at="yesterday"))


def missing(path: Path) -> None:
    path.unlink()


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


DAMAGES = (truncated, garbage, empty, of_the_future, with_another_type, missing)


def test_damaged_records_are_quarantined(new_instance: NewInstance) -> None:
    own = new_instance()
    own.create("good", "--no-start")
    names = [damage.__name__.replace("_", "-") for damage in DAMAGES]
    for name in names:
        own.create(name, "--no-start")
    own.run("daemon", "stop")
    intact = {name: own.record(name).read_bytes() for name in names}
    for name, damage in zip(names, DAMAGES, strict=True):
        damage(own.record(name))
    before = contents(own, names)

    own.run("daemon", "start")
    quarantined = own.status()["quarantined"]
    assert set(quarantined) == set(names)
    for name, reason in quarantined.items():
        assert str(own.record(name)) in reason
    shown = own.run("daemon", "status").stdout
    assert shown.count("unreadable") == len(names)
    assert own.names() == {"good"}

    for name in names:
        assert "can't be read" in own.error("vm", "show", name, code=1)
        assert "is taken" in own.error("vm", "create", "--name", name, "--no-start", code=4)
    assert "can't be read" in own.error("vm", "delete", names[0], code=1)
    own.create("another", "--no-start")
    own.run("vm", "delete", "good", "another")
    assert contents(own, names) == before

    own.run("daemon", "stop")
    for name, data in intact.items():
        own.record(name).write_bytes(data)
    assert own.names() == set(names)
    assert own.status()["quarantined"] == {}


def contents(instance: Instance, names: list[str]) -> dict[Path, tuple[bytes, int]]:
    files = [path for name in names for path in (instance.paths.vms / name).iterdir()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with banger."""
    with subprocess.Popen(["sleep", "600"]) as sleeping:
        yield sleeping
        assert sleeping.poll() is None, "a process that is not banger's was ended"
        sleeping.kill()


@pytest.mark.parametrize(
    ("change", "state", "reason"),
    [
        ({"boot_id": "0" * 36}, "stopped", "the host was rebooted"),
        ({"start_ticks": 1}, "crashed", "its VMM ended while the daemon was not running"),
    ],
    ids=["another-boot", "a-pid-used-again"],
)
def test_a_process_that_is_not_the_vmm(
    new_instance: NewInstance,
    bystander: subprocess.Popen[bytes],
    change: dict[str, Any],
    state: str,
    reason: str,
) -> None:
    """The record's pid belongs to another process now: it is never taken for the VMM."""
    own = new_instance()
    own.create("ghost", "--no-start")
    own.run("daemon", "stop")
    identity = process.identify(bystander.pid)
    assert identity is not None
    claimed = {
        "pid": identity.pid,
        "start_ticks": identity.start_ticks,
        "boot_id": identity.boot_id,
        **change,
    }
    edit(
        own.record("ghost"),
        lambda document: document["record"].update(state="running", process=claimed),
    )
    view = own.show("ghost")
    assert (view["state"], view["pid"], view["reason"]) == (state, None, reason)
    assert own.error("vm", "exec", "ghost", "--", "true", code=4)
    own.run("vm", "delete", "ghost")


def test_what_a_crash_left_is_swept(new_instance: NewInstance) -> None:
    own = new_instance()
    own.create("kept", "--no-start")
    own.run("daemon", "stop")
    doomed = own.paths.vms / ".deleting-gone"
    doomed.mkdir()
    (doomed / "root.qcow2").write_text("x")
    half = own.record("kept").with_name(".record.json.tmp")
    half.write_text("{")
    assert own.names() == {"kept"}
    assert not doomed.exists()
    own.run("vm", "delete", "kept")
