"""``banger bench dns``: runs `banger_dns.bench` and shows what it says."""

from __future__ import annotations

import shutil
import sys

import msgspec
from banger.capabilities import CommandCall, CommandFailed, Host, HostNotReady, UsageError

from banger_dns.bench_report import PARTS, RATE, Measured, Report

MOST_NAMES, MOST_SECONDS = 100_000, 600

_NEEDED = {"dnsperf": "dnsperf", "dnsmasq": "dnsmasq-base"}
"""Debian's package of each program."""
_MORE_S = 60.0


async def run_bench(host: Host, call: CommandCall) -> int:
    names, seconds = call.parameters["names"], call.parameters["seconds"]
    if not 1 <= names <= MOST_NAMES:
        raise UsageError(f"--names {names}: 1 to {MOST_NAMES}")
    if not 1 <= seconds <= MOST_SECONDS:
        raise UsageError(f"--seconds {seconds}: 1 to {MOST_SECONDS}")
    packages = [package for program, package in _NEEDED.items() if not shutil.which(program)]
    if packages:
        raise HostNotReady(
            f"'banger bench dns' needs {' and '.join(packages)}, which this host lacks",
            hint=f"apt-get install {' '.join(packages)}",
        )
    lasting_s = 2 * len(PARTS) * seconds
    await call.line(f"{names} names, {lasting_s} s in all, in turns")
    argv = [sys.executable, "-m", "banger_dns.bench", str(names), str(seconds)]
    done = await host.run(argv, timeout_s=lasting_s + _MORE_S)
    if done.code != 0:
        raise CommandFailed(argv, done.code, done.stderr.decode(errors="replace"))
    report = msgspec.json.decode(done.stdout, type=Report)
    call.document = report
    for line in _table(report):
        await call.line(line)
    return 0


def _table(report: Report) -> list[str]:
    rows = [("", "banger", "dnsmasq", "ratio")]
    for title, field, scale in (
        ("queries/s at most", "queries_per_s", 1.0),
        ("% of a core at that", "cpu_at_most", 100.0),
        (f"ms p50 at {RATE} queries/s", "p50_ms", 1.0),
        (f"ms p99 at {RATE} queries/s", "p99_ms", 1.0),
        ("% of a core at that", "cpu_at_rate", 100.0),
        ("queries lost", "lost", 1.0),
    ):
        ours, theirs = (_value(each, field) * scale for each in (report.banger, report.dnsmasq))
        ratio = f"{ours / theirs:.2f}" if theirs else "-"
        rows.append((title, _shown(ours), _shown(theirs), ratio))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
    return [*lines, f"load {report.load:.2f} on {report.cpus} CPUs"]


def _value(measured: Measured, field: str) -> float:
    return float(getattr(measured, field))


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"
