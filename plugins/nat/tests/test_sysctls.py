"""Switches of the kernel: on while needed, then as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from banger.capabilities import HostNotReady
from nat_machine import Machine

from banger_nat.sysctls import FORWARD, Sysctls, route_localnet

BOTH = frozenset({FORWARD, route_localnet("banger0")})
FORWARDING = frozenset({FORWARD})
NOTHING: frozenset[str] = frozenset()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "own"
    path.mkdir()
    return path


@pytest.fixture
def sysctls(directory: Path, tmp_path: Path, machine: Machine) -> Sysctls:
    return Sysctls(lambda: directory, tmp_path / "sys")


async def test_the_last_one_puts_it_back(
    sysctls: Sysctls, machine: Machine, directory: Path
) -> None:
    await sysctls.need("a", FORWARDING)
    await sysctls.need("b", BOTH)
    assert machine[FORWARD] == machine[route_localnet("banger0")] == "1"
    await sysctls.need("b", NOTHING)
    assert (machine[FORWARD], machine[route_localnet("banger0")]) == ("1", "0")
    await sysctls.need("a", NOTHING)
    await sysctls.need("a", NOTHING)
    assert machine[FORWARD] == "0"
    assert list(directory.iterdir()) == []


async def test_what_was_on_stays_on(sysctls: Sysctls, machine: Machine) -> None:
    machine[FORWARD] = "1"
    await sysctls.need("a", FORWARDING)
    await sysctls.need("a", NOTHING)
    assert machine[FORWARD] == "1"


async def test_what_somebody_turned_off_stays_off(sysctls: Sysctls, machine: Machine) -> None:
    machine[FORWARD] = "1"
    await sysctls.need("a", FORWARDING)
    machine[FORWARD] = "0"
    assert await sysctls.turned_off() == [FORWARD]
    await sysctls.need("a", NOTHING)
    assert machine[FORWARD] == "0"
    assert await sysctls.turned_off() == []


async def test_interfaces_that_forwarded_alone(sysctls: Sysctls, machine: Machine) -> None:
    machine["net/ipv4/conf/eth5/forwarding"] = "1"
    machine["net/ipv4/conf/eth6/forwarding"] = "0"
    await sysctls.need("a", FORWARDING)
    machine["net/ipv4/conf/eth5/forwarding"] = "0"  # as the kernel does when it is put back
    await sysctls.need("a", NOTHING)
    assert machine["net/ipv4/conf/eth5/forwarding"] == "1"
    assert machine["net/ipv4/conf/eth6/forwarding"] == "0"


async def test_a_killed_daemon_is_followed_by_one_that_knows(
    sysctls: Sysctls, machine: Machine, directory: Path, tmp_path: Path
) -> None:
    await sysctls.need("a", FORWARDING)
    await sysctls.need("b", FORWARDING)
    anew = Sysctls(lambda: directory, tmp_path / "sys")
    await anew.need("a", NOTHING)
    assert machine[FORWARD] == "1"
    await anew.need("b", FORWARDING)
    await anew.need("b", NOTHING)
    assert machine[FORWARD] == "0"


async def test_it_is_remembered_before_it_is_turned(
    sysctls: Sysctls, machine: Machine, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        Sysctls, "_write", lambda self, name: seen.append((directory / "sysctls.json").read_text())
    )
    await sysctls.need("a", FORWARDING)
    assert '"before":{"net/ipv4/ip_forward":{"net/ipv4/ip_forward":"0"}}' in seen[0]


async def test_after_a_reboot_nothing_is_put_back(
    sysctls: Sysctls, machine: Machine, directory: Path, tmp_path: Path
) -> None:
    await sysctls.need("a", FORWARDING)
    machine["kernel/random/boot_id"] = "second boot"
    anew = Sysctls(lambda: directory, tmp_path / "sys")
    await anew.need("a", NOTHING)
    assert machine[FORWARD] == "1"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 10000])
async def test_a_broken_file_stops_nobody(
    sysctls: Sysctls, machine: Machine, directory: Path, content: bytes
) -> None:
    (directory / "sysctls.json").write_bytes(content)
    await sysctls.need("a", FORWARDING)
    assert machine[FORWARD] == "1"


async def test_what_can_not_be_set(sysctls: Sysctls, machine: Machine) -> None:
    with pytest.raises(HostNotReady, match=r"net\.ipv4\.conf\.gone\.route_localnet=1"):
        await sysctls.need("a", frozenset({route_localnet("gone")}))
    await sysctls.need("a", NOTHING)


async def test_it_can_be_turned_on_again(sysctls: Sysctls, machine: Machine) -> None:
    await sysctls.need("a", FORWARDING)
    machine[FORWARD] = "0"
    assert await sysctls.turn_on() == [FORWARD]
    assert machine[FORWARD] == "1"
    assert await sysctls.turn_on() == []
