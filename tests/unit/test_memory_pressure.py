"""When the host is short of memory, by what the kernel says."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.host.memory_pressure import memory_pressure

RESERVE = 512 << 20


@pytest.mark.parametrize(
    ("available_kib", "stalled", "reason"),
    [
        (524288, "0.00", ""),
        (524287, "0.00", "512.0 MiB of memory are available, 512.0 MiB wanted"),
        (8388608, "9.99", ""),
        (8388608, "10.00", "processes waited for memory in 10 % of the last ten seconds"),
        (8388608, None, ""),
    ],
)
def test_pressure(tmp_path: Path, available_kib: int, stalled: str | None, reason: str) -> None:
    facts = f"MemTotal:       16777216 kB\nMemAvailable:   {available_kib} kB\n"
    (tmp_path / "meminfo").write_text(facts)
    if stalled is not None:
        (tmp_path / "pressure").mkdir()
        line = f"some avg10={stalled} avg60=0.00 avg300=0.00 total=1\n"
        (tmp_path / "pressure/memory").write_text(line)
    assert memory_pressure(RESERVE, tmp_path) == reason


def test_this_host_can_be_asked() -> None:
    assert memory_pressure(0) == "" or "waited" in memory_pressure(0)
    assert "wanted" in memory_pressure(1 << 60)
