"""Command lines run in this process, for tests of the client."""

from __future__ import annotations

import pytest

from banger.cli.run import run
from banger.model.requests.plugins import Interface
from banger.model.vm import VmState, VmView

NO_PLUGINS = Interface([], [], [])


class Cli:
    """Runs commands in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self.out = ""
        self.err = ""

    def __call__(self, *arguments: str) -> int:
        ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
        code = run(list(arguments), json="--json" in ours, debug="--debug" in ours)
        self.out, self.err = self._capture.readouterr()
        return code


def view(name: str, state: VmState = VmState.RUNNING, **labels: str) -> VmView:
    return VmView(
        name=name,
        state=state,
        image="debian",
        address="172.31.0.5",
        mac="02:fc:ac:1f:00:05",
        pid=4711,
        vcpus=1,
        memory_mib=256,
        disk_bytes=1 << 30,
        disk_allocated_bytes=4096,
        created_at="2024-05-01T12:00:00+00:00",
        id="0" * 32,
        driver="qemu",
        accelerator="tcg",
        tap="tap-00000000",
        reason="",
        labels=labels,
        options={},
    )
