"""What the tests of this folder share; their helpers are in `dns_fakes`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from banger.testing import host as testing_host
from banger.testing import vm as testing_vm
from dns_fakes import Bench, make_bench, make_zone
from dns_host import NETWORK
from hypothesis.configuration import set_hypothesis_home_dir

from banger_dns import Zone

# Otherwise it leaves a directory where pytest was started.
set_hypothesis_home_dir(Path(__file__).parents[1] / ".hypothesis")


@pytest.fixture(autouse=True)
def network_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake daemon's VMs and its bridge are in 127.0.0.0/8, where one can listen."""
    for module in (testing_host, testing_vm):
        monkeypatch.setattr(module, "NETWORK", NETWORK)


@pytest.fixture
def zone() -> Zone:
    """The zone vm of 172.31.0.0/22, with the hosts web (alias www) and db."""
    return make_zone()


@pytest.fixture
def bench(zone: Zone) -> Bench:
    """A responder for the zone, with nobody upstream."""
    return make_bench(zone)
