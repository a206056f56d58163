"""What a bench says of what it measured, and what it refuses before it measures anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.commands import bench_debvm
from banger.commands.bench_report import report
from banger.commands.context import Context
from banger.commands.session import Session
from banger.commands.sink import KeptSink
from banger.kernel.errors import HostNotReady
from banger.model.requests.control import DaemonStatus, GetStatus
from tests.unit.fake_daemon import serving

MEASURED = [("create", [30.0, 10.0, 20.0]), ("memory", [120.0]), ("other", [1.0])]
TARGETS = {"create": 20.0, "memory": 110.0, "not measured": 1.0}


STATUS = DaemonStatus(
    pid=1,
    version="0",
    uptime_s=1.0,
    vms={},
    quarantined={},
    accelerator="tcg",
    bridge="banger0",
    subnet=None,
    socket="",
)


def said(home: Path, *, as_json: bool, targets: dict[str, float]) -> str:
    def answer(request: Any) -> Iterator[object]:
        assert isinstance(request, GetStatus)
        yield STATUS

    sink = KeptSink()
    with (
        serving(home / "banger" / "bangerd.sock", answer),
        Session() as session,
        Context(session, sink, json=as_json) as context,
    ):
        report(context, 3, MEASURED, {"memory": "MB"}, targets)
    return sink.output


def test_each_median_beside_its_target(home: Path) -> None:
    head, *rows = said(home, as_json=False, targets=TARGETS).splitlines()[1:]
    assert head.split() == ["MEASURE", "MEDIAN", "LEAST", "MOST", "UNIT", "TARGET"]
    assert [row.split() for row in rows] == [
        ["create", "20.0", "10.0", "30.0", "ms", "20", "met"],
        ["memory", "120.0", "120.0", "120.0", "MB", "110", "missed"],
        ["other", "1.0", "1.0", "1.0", "ms"],
    ]


def test_targets_in_the_document(home: Path) -> None:
    rows = json.loads(said(home, as_json=True, targets=TARGETS))["rows"]
    assert [row["met"] for row in rows] == [True, False, None]


def test_no_targets_no_column(home: Path) -> None:
    assert "TARGET" not in said(home, as_json=False, targets={})


@pytest.mark.parametrize("program", ["debvm-run", "mmdebstrap"])
def test_a_missing_debvm(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in bench_debvm.PACKAGES.keys() - {program}:
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostNotReady, match=f"'{program}' is not installed") as caught:
        bench_debvm.check_installed()
    assert caught.value.hint == f"install the package {bench_debvm.PACKAGES[program]}"
