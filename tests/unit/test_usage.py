"""What VMs use: counters of real processes, rates of two looks, and how they are shown."""

from __future__ import annotations

import os
import time

import msgspec
import pytest

from banger.commands.vm_stats import HEAD, fitting
from banger.host.process import identify
from banger.host.process_usage import read_usage
from banger.model.sizes import short_size
from banger.model.stats import NetworkUsage, VmmUsage, VmStats
from banger.model.usage import usage
from banger.model.vm import VmState

MIB = 1 << 20


def stats(at_s: float, cpu_s: float | None, sent: int | None = None, pid: int = 7) -> VmStats:
    return VmStats(
        name="a",
        state=VmState.RUNNING,
        at_s=at_s,
        vcpus=1,
        memory_bytes=256 * MIB,
        disk_bytes=1,
        disk_allocated_bytes=1,
        vmm=None if cpu_s is None else VmmUsage(pid, cpu_s, 4, 3, 2, 2),
        network=None if sent is None else NetworkUsage("tap-1", sent, 1, 2 * sent, 1),
        guest=None,
        guest_problem="",
    )


def test_rates() -> None:
    found = usage(stats(10, 5, 1000), stats(12, 8, 3000))
    assert (found.cpu_percent, found.sent_bytes_s, found.received_bytes_s) == (150, 1000, 2000)
    assert found.vmm == stats(12, 8).vmm
    assert msgspec.to_builtins(found)["cpu_percent"] == 150


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, stats(10, 1, 1)),
        (stats(10, None), stats(12, 1, 1)),
        (stats(10, 1, 1), stats(12, None)),
        (stats(10, 100, 1, pid=6), stats(12, 1, 1)),
        (stats(10, 1, 1), stats(10, 1, 1)),
    ],
)
def test_no_rates_without_two_looks_at_one_vmm(before: VmStats | None, now: VmStats) -> None:
    found = usage(before, now)
    assert (found.cpu_percent, found.sent_bytes_s) == (None, None)


def test_counters_that_went_back_are_no_negative_rate() -> None:
    assert usage(stats(10, 5, 1000), stats(11, 5, 0)).sent_bytes_s == 0
    assert usage(stats(10, 5), stats(11, 6, 10)).sent_bytes_s is None


def test_a_real_process() -> None:
    me = identify(os.getpid())
    assert me is not None
    before = read_usage(me)
    deadline = time.process_time() + 0.1
    block = bytearray(os.urandom(1)) * (32 * MIB)
    while time.process_time() < deadline:
        pass
    after = read_usage(me)
    assert before is not None
    assert after is not None
    assert 0.05 <= after.cpu_s - before.cpu_s < 5
    assert after.private_bytes - before.private_bytes > len(block) / 2
    assert after.pss_bytes <= after.resident_bytes
    assert after.private_bytes + after.shared_bytes == pytest.approx(after.resident_bytes, rel=0.05)


def test_another_process_with_that_pid_is_not_taken_for_it() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert read_usage(msgspec.structs.replace(me, start_ticks=me.start_ticks + 1)) is None
    assert read_usage(msgspec.structs.replace(me, pid=1 << 22)) is None


def test_short_sizes() -> None:
    sizes = [0, 1023, 1024, 10 * 1024, 213 * MIB, int(1.5 * (1 << 30)), 16 << 40]
    assert [short_size(size) for size in sizes] == "0B 1023B 1.0K 10K 213M 1.5G 16T".split()


def test_columns_that_do_not_fit_are_dropped() -> None:
    lines = [HEAD, ("a-long-name", *("x" * 9 for _ in HEAD[1:]))]
    assert fitting(lines, 1000) == lines
    narrow = fitting(lines, 80)
    assert max(sum(len(cell) + 2 for cell in line) - 2 for line in narrow) <= 80
    assert narrow[0][:2] == ("NAME", "CPU")
    assert "RESIDENT" not in narrow[0]
