"""``banger events``: what happened, also before the daemon was started."""

from __future__ import annotations

import json
import signal
from typing import Any

from tests.vm.instance import Instance


def events(instance: Instance, *arguments: str) -> list[dict[str, Any]]:
    out = instance.run("events", "--json", *arguments).stdout
    return [json.loads(line) for line in out.splitlines()]


def test_kept_over_a_killed_daemon_and_followed(instance: Instance) -> None:
    instance.create("told", "--no-start")
    before = events(instance, "--filter", "vm=told")
    assert [event["type"] for event in before[-2:]] == ["vm-state", "operation-ended"]
    instance.signal_daemon(signal.SIGKILL)
    for arguments in ((), ("--since", "1d")):
        assert events(instance, *arguments, "--filter", "vm=told")[: len(before)] == before
    assert events(instance, "--since", "2100-01-01") == []

    follower = instance.start("events", "--follow", "--json", "--filter", "vm=tol?")
    assert follower.stdout is not None
    replayer = instance.start("events", "--follow", "--since", "1h", "--filter", "vm=told")
    assert replayer.stdout is not None
    while b"create took" not in replayer.stdout.readline():
        pass
    instance.status()
    instance.run("vm", "delete", "told")
    followed: list[dict[str, Any]] = []
    while not followed or followed[-1]["type"] != "vm-gone":
        followed.append(json.loads(follower.stdout.readline()))
    assert followed[0]["seq"] > before[-1]["seq"]
    numbers = [event["seq"] for event in followed]
    assert numbers == sorted(set(numbers))
    while b"told          gone" not in replayer.stdout.readline():
        pass


def test_mistakes(instance: Instance) -> None:
    assert "is no point in time" in instance.error("events", "--since", "soon", code=2)
    assert "no event has a field" in instance.error("events", "--filter", "name=x", code=2)
