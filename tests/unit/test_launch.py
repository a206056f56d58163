"""Starting the daemon while another one has the lock."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from banger.client import launch
from banger.host.places import Places
from banger.kernel.errors import Conflict, HostNotReady

TAKEN = (Conflict.exit_code, "bangerd: a daemon is running already, pid 7\n")
SERVES = (None, "")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    here = str(tmp_path)
    return Places(config=here, state=here, cache=here, runtime=here)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(launch, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))


def answer(
    monkeypatch: pytest.MonkeyPatch, attempts: list[Any], connections: list[Any]
) -> tuple[list[Any], list[Any]]:
    """Each attempt and each connection comes out as listed; the last one again and again."""
    for name, outcomes in (("_start", attempts), ("connect", connections)):

        def take(*_: object, left: list[Any] = outcomes) -> Any:
            return left.pop(0) if len(left) > 1 else left[0]

        monkeypatch.setattr(launch, name, take)
    return attempts, connections


@pytest.mark.usefixtures("clock")
def test_another_that_starts_is_waited_for(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = object()
    answer(monkeypatch, [TAKEN], [None, None, theirs])
    assert launch.start(places) is theirs


@pytest.mark.usefixtures("clock")
def test_another_that_ends_is_waited_for(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, [TAKEN, TAKEN, TAKEN, SERVES], [None])
    assert launch.start(places) is None


@pytest.mark.usefixtures("clock")
def test_another_that_hangs(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, [TAKEN], [None])
    with pytest.raises(HostNotReady, match="does not start: a daemon is running already, pid 7"):
        launch.start(places)


def test_one_that_can_not_start(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, [(5, "noise\nbangerd: no such driver\n")], [None])
    with pytest.raises(HostNotReady, match="does not start: no such driver"):
        launch.start(places)
