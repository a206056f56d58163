"""Host tests change real interfaces, in a network namespace of this process's own."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import private_network

Ip = Callable[..., list[dict[str, Any]]]

private_network.enter()


@pytest.fixture(scope="session", autouse=True)
def own_network_namespace() -> None:
    """Skip, or fail under CI=true, without a network namespace of our own to break."""
    private_network.require("the host tests (tests/host)")


@pytest.fixture
def ip() -> Ip:
    """iproute2, to arrange and to check by other means than the code under test."""
    return run_ip


@pytest.fixture
def veth(clean_namespace: None) -> str:
    """An Ethernet interface that is none of ours, with carrier, not yet up."""
    run_ip("link", "add", "veth", "type", "veth", "peer", "name", "veth-peer")
    run_ip("link", "set", "veth-peer", "up")
    return "veth"


@pytest.fixture(autouse=True)
def clean_namespace(own_network_namespace: None) -> Iterator[None]:
    """Nothing but lo before the test; whatever it left is deleted; no descriptor leaks."""
    assert interfaces() == {"lo"}
    descriptors = open_descriptors()
    yield
    assert open_descriptors() == descriptors
    for name in interfaces() - {"lo"}:
        if name in interfaces():  # a veth's other end goes with it
            run_ip("link", "del", name)
    run_ip("-4", "route", "flush", "table", "all", "proto", "boot")


def run_ip(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-j", *arguments], check=True, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def open_descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())
