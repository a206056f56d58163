"""What the daemon is asked about warm seeds."""

from __future__ import annotations

from banger.kernel.message import Request
from banger.model.names import ImageName
from banger.model.seed import SeedFloor, SeedView
from banger.model.vm import MemoryMib, Vcpus


class WarmImage(Request[SeedView], frozen=True, tag="image.warm"):
    """stream: SeedProgress. One that is there is not made anew."""

    name: ImageName
    vcpus: Vcpus | None = None
    memory_mib: MemoryMib | None = None


class AwaitStandby(Request[int], frozen=True, tag="standby.await"):
    """Wait until as many VMs stand ready as shall; how many there are."""


class MeasureFloor(Request[SeedFloor], frozen=True, tag="image.floor"):
    """How fast VMs of the usual shape could begin. Its seed is made when there is none."""

    name: ImageName
