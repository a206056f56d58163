"""``--json``: one document on stdout and nothing else, for results and for errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vm.instance import Instance

STATUS_FIELDS = {"pid", "version", "uptime_s", "vms", "quarantined", "bridge", "subnet", "socket"}
IMAGE_FIELDS = {"name", "id", "built_at", "disk_bytes", "allocated_bytes", "vms", "path"}


def test_every_command(instance: Instance, box: str, tmp_path: Path) -> None:
    """`Instance.json` fails when stdout holds anything but one document."""
    assert set(instance.json("daemon", "status")) >= STATUS_FIELDS
    assert set(instance.json("daemon", "start")) >= STATUS_FIELDS
    images = instance.json("image", "list")
    assert set(images[0]) >= IMAGE_FIELDS
    assert instance.json("image", "show", "debian") in images
    assert box in instance.json("image", "show", "debian")["vms"]
    assert instance.json("version")["version"]
    assert {row["key"] for row in instance.json("config", "show")} >= {"vm.image", "network.subnet"}

    view = instance.json("vm", "create", "--name", "doc", "--no-start")
    assert view["name"] == "doc"
    for command, state in (("start", "running"), ("restart", "running"), ("stop", "stopped")):
        (outcome,) = instance.json("vm", command, "doc")
        assert (outcome["name"], outcome["error"]) == ("doc", None)
        assert outcome["result"]["state"] == state
    assert instance.json("vm", "wait", "doc", "--for", "stopped")["state"] == "stopped"
    assert instance.json("vm", "logs", "doc")["name"] == "doc"
    assert instance.json("vm", "exec", box, "--", "echo", "x")["stdout"] == "x\n"
    assert instance.json("vm", "cp", f"{box}:/etc/hostname", str(tmp_path))["files"] == 1
    (outcome,) = instance.json("vm", "delete", "doc")
    assert outcome == {"name": "doc", "result": None, "error": None}


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (("vm", "show", "nobody"), 3, "NotFound"),
        (("image", "show", "nothing"), 3, "NotFound"),
        (("vm", "create", "--name", "box"), 4, "Conflict"),
        (("vm", "create", "--name", "Box"), 2, "UsageError"),
        (("vm", "create", "--memory", "lots"), 2, "UsageError"),
        (("vm", "create", "--nonsense"), 2, "UsageError"),
        (("vm", "frobnicate"), 2, "UsageError"),
        (("vm", "exec", "box", "--", "no-such-program"), 127, "CommandNotFound"),
        (("vm", "exec", "box", "--", "/etc/passwd"), 126, "NotExecutable"),
        (("vm", "wait", "box", "--for", "stopped", "--timeout", "0.1"), 1, "TimedOut"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_errors(
    instance: Instance, box: str, arguments: tuple[str, ...], code: int, kind: str
) -> None:
    document = instance.json(*arguments, code=code)
    assert set(document) == {"error"}
    error = document["error"]
    assert set(error) == {"kind", "message", "hint", "exit_code"}
    assert (error["kind"], error["exit_code"]) == (kind, code)
    assert error["message"]
    assert "\n" not in error["message"] + error["hint"]


def test_several_vms_each_have_their_outcome(instance: Instance, box: str) -> None:
    outcomes = instance.json("vm", "start", box, "nobody", code=4)
    assert [outcome["name"] for outcome in outcomes] == [box, "nobody"]
    kinds = [outcome["error"]["kind"] for outcome in outcomes]
    assert kinds == ["IllegalState", "NotFound"]


def test_the_guests_own_flags_stay_the_guests(instance: Instance, box: str) -> None:
    done = instance.run("vm", "exec", box, "--", "echo", "--json", "--debug")
    assert done.stdout == "--json --debug\n"
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)
