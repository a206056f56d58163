"""What the agent says of the guest it runs in; here that is the machine of the tests."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.agent.agent_client import AgentClient


def test_stats(agent: AgentClient) -> None:
    reply = agent.request("GET", "/v1/stats")
    assert reply.status == 200
    stats = reply.json
    assert stats["uptime_ms"] / 1000 == pytest.approx(time.clock_gettime(7), abs=5)  # BOOTTIME
    assert stats["load"] == pytest.approx(os.getloadavg(), abs=2)
    there = sum(entry.name.isdigit() for entry in Path("/proc").iterdir())
    assert stats["processes"] == pytest.approx(there, abs=50)


def test_memory_is_the_kernels_own_count(agent: AgentClient) -> None:
    memory = agent.request("GET", "/v1/stats").json["memory"]
    total = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal:")
    )
    assert memory["total_bytes"] == total
    assert 0 < memory["available_bytes"] < total
    assert 0 <= memory["swap_free_bytes"] <= memory["swap_total_bytes"]


def test_disks_are_block_devices_each_once(agent: AgentClient) -> None:
    disks = agent.request("GET", "/v1/stats").json["disks"]
    assert len(disks) <= 16
    devices = [Path(disk["path"]).stat().st_dev for disk in disks]
    assert len(set(devices)) == len(devices)
    for disk in disks:
        mounted = os.statvfs(disk["path"])
        assert disk["size_bytes"] == mounted.f_blocks * mounted.f_frsize
        assert disk["used_bytes"] + disk["available_bytes"] <= disk["size_bytes"]


def test_it_only_reads(agent: AgentClient) -> None:
    assert agent.request("POST", "/v1/stats").status == 405
