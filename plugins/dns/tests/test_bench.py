"""``banger bench dns``."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from banger.capabilities import HostNotReady, UsageError
from dns_host import DnsDaemon

from banger_dns import bench
from banger_dns.bench_report import RATE, Measured, Report

needs_programs = pytest.mark.skipif(
    not (shutil.which("dnsperf") and shutil.which("dnsmasq")), reason="no dnsperf, no dnsmasq"
)


@needs_programs
def test_both_are_measured() -> None:
    report = bench.measure(20, 0.2)
    for measured in (report.banger, report.dnsmasq):
        assert measured.queries_per_s > 0 and measured.cpu_at_most > 0
        assert 0 < measured.p50_ms <= measured.p99_ms
        assert measured.lost == 0


@needs_programs
async def test_table(tmp_path: Path) -> None:
    daemon = DnsDaemon(tmp_path)
    ours = Measured(200_000, 0.8, 0.01, 0.05, 0.02, 0)
    theirs = Measured(100_000, 0.4, 0.02, 0.1, 0.01, 0)
    report = Report(1000, 5, RATE, 2, 0.5, ours, theirs)
    daemon.host.programs.answer(stdout=msgspec.json.encode(report))
    code, document, lines = await daemon.command("bench_dns", names=1000, seconds=5)
    assert (code, document) == (0, report)
    assert lines[2].split() == ["queries/s", "at", "most", "200000", "100000", "2.00"]
    assert "load 0.50 on 2 CPUs" in lines


async def test_missing_programs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(HostNotReady, match="dnsperf and dnsmasq-base") as caught:
        await DnsDaemon(tmp_path).command("bench_dns", names=1000, seconds=5)
    assert caught.value.hint == "apt-get install dnsperf dnsmasq-base"


@pytest.mark.parametrize("parameters", [{"names": 0, "seconds": 5}, {"names": 1, "seconds": 601}])
async def test_senseless_parameters(tmp_path: Path, parameters: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        await DnsDaemon(tmp_path).command("bench_dns", **parameters)
