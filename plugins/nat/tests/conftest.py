"""A host of the tests' own: nothing here touches the machine but for sockets on loopback."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

# pytest's import mode puts no test directory on the path.
sys.path.insert(0, str(Path(__file__).parent))

from nat_machine import Machine

from banger_nat import capability, cut
from banger_nat.capability import Nat


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "sys")
    machine["net/ipv4/ip_forward"] = "0"
    machine["net/ipv4/conf/banger0/route_localnet"] = "0"
    machine["kernel/random/boot_id"] = "first boot"
    monkeypatch.setattr(Nat, "proc_sys", tmp_path / "sys")
    monkeypatch.setattr(capability, "default_interfaces", lambda: machine.uplinks)
    monkeypatch.setattr(cut, "forget", machine.forget)
    return machine


@pytest.fixture
def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
