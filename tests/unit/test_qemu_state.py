"""Saving and loading the state of a machine, against a fake QEMU."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from banger.kernel.errors import ConnectionLost, VmmError
from banger.vmm.qemu_state import load_state, save_state
from banger.vmm.qmp import QmpClient


class FakeQemu:
    """``statuses`` are what it answers to query-migrate, one after another; "" hangs up."""

    def __init__(self, *statuses: str) -> None:
        self.statuses = [*statuses]
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.files: list[bytes] = []
        ours, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)
        ours.setblocking(False)
        self.client = QmpClient(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))

    async def serve(self) -> None:
        buffer = b""
        with self._theirs as theirs:
            theirs.send(b'{"QMP": {}}\n')
            while True:
                await trio.lowlevel.wait_readable(theirs)
                data, fds, _, _ = socket.recv_fds(theirs, 65536, 4)
                for fd in fds:
                    with os.fdopen(fd, "rb") as file:
                        self.files.append(file.read())
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for command in map(msgspec.json.decode, lines):
                    reply = self.reply(command["execute"], command["arguments"])
                    if reply is None:
                        return
                    answer = {"return": reply, "id": command["id"]}
                    theirs.send(msgspec.json.encode(answer) + b"\n")

    def reply(self, name: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        self.asked.append((name, arguments))
        if name != "query-migrate":
            return {}
        status = self.statuses.pop(0)
        return {"status": status, "error-desc": "it broke"} if status else None

    @property
    def commands(self) -> list[str]:
        return [name for name, _ in self.asked if name != "qmp_capabilities"]


@asynccontextmanager
async def negotiated(*statuses: str) -> AsyncIterator[FakeQemu]:
    qemu = FakeQemu(*statuses)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(qemu.serve)
            await qemu.client.negotiate()
            yield qemu
            await qemu.client.aclose()
            nursery.cancel_scope.cancel()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.write_bytes(b"what was saved")
    return path


async def test_loading_hands_over_the_file_and_waits(state: Path) -> None:
    async with negotiated("setup", "active", "completed") as qemu:
        await load_state(qemu.client, state)
        assert qemu.files == [b"what was saved"]
        assert qemu.commands == [
            *("migrate-set-capabilities", "getfd", "migrate-incoming"),
            *(["query-migrate"] * 3),
        ]
        assert ("migrate-incoming", {"uri": "fd:state"}) in qemu.asked


async def test_a_state_that_qemu_does_not_take_is_an_error(state: Path) -> None:
    async with negotiated("active", "failed") as qemu:
        with pytest.raises(VmmError, match="QEMU's migration failed: it broke"):
            await load_state(qemu.client, state)


async def test_a_qemu_that_ends_on_loading_is_an_error(state: Path) -> None:
    async with negotiated("active", "") as qemu:
        with pytest.raises(ConnectionLost, match="went away"):
            await load_state(qemu.client, state)


async def test_no_link_is_followed_to_a_state(state: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(state)
    async with negotiated() as qemu:
        with pytest.raises(OSError, match="symbolic links"):
            await load_state(qemu.client, tmp_path / "link")


async def test_saving_leaves_shared_memory_out_and_is_not_slowed_down(tmp_path: Path) -> None:
    async with negotiated("active", "completed") as qemu, trio.open_nursery() as nursery:
        nursery.start_soon(read, qemu.client)
        with (tmp_path / "state").open("w+b") as file:
            await save_state(qemu.client, file.fileno())
        capability = {"capability": "x-ignore-shared", "state": True}
        assert ("migrate-set-capabilities", {"capabilities": [capability]}) in qemu.asked
        assert ("migrate", {"uri": "fd:state"}) in qemu.asked
        bandwidth = dict(qemu.asked)["migrate-set-parameters"]["max-bandwidth"]
        assert bandwidth >= 1 << 36
        nursery.cancel_scope.cancel()


async def test_saving_that_is_given_up_is_cancelled(tmp_path: Path) -> None:
    async with negotiated(*["active"] * 1000) as qemu, trio.open_nursery() as nursery:
        nursery.start_soon(read, qemu.client)
        with (tmp_path / "state").open("w+b") as file, trio.move_on_after(0.05):
            await save_state(qemu.client, file.fileno())
        assert qemu.commands[-1] == "migrate_cancel"
        nursery.cancel_scope.cancel()


async def read(client: QmpClient) -> None:
    while True:
        await client.next_event()
