"""The QEMU driver: the microvm machine, KVM where it works, else software emulation.

Every socket is bound here and handed to QEMU as a descriptor, so there is no moment at
which a client could come too early; disks, kernel and TAPs are handed over open, so QEMU
runs as a user of its own that may open none of them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import trio

from banger.host import process
from banger.host.memory import page_out
from banger.host.netlink import open_loose_tap, open_tap
from banger.host.places import check_socket_path
from banger.host.ram_file import RamFile
from banger.host.user import User, vmm_user
from banger.kernel.errors import ConnectionLost, HostNotReady, VmmError
from banger.model.fittings import Fittings
from banger.model.machine import DiskFormat
from banger.model.process import ProcessIdentity
from banger.vmm.accelerator import Accelerator, tsc_khz
from banger.vmm.base import DiskSwitch, DriverContext, MachineEvent, MachinePlan, Traits
from banger.vmm.qemu_arguments import (
    AGENT_PORTS,
    BALLOON,
    PORTS_AT_START,
    Descriptors,
    agent_port,
    qemu_arguments,
)
from banger.vmm.qemu_fork import fork, is_little, opened
from banger.vmm.qemu_likeness import likeness
from banger.vmm.qemu_snapshot import drop_snapshot, snapshot
from banger.vmm.qemu_state import load_state, save_state
from banger.vmm.qmp import QmpClient

START_DEADLINE_S = 20.0
PORT_DEADLINE_S = 5.0
LOG_TAIL_BYTES = 2000

_RW = os.O_RDWR | os.O_CLOEXEC
_QMP = "qmp.sock"
_CONSOLE = "console.sock"


class QemuMachine:
    """A QEMU process, ours or adopted."""

    def __init__(
        self,
        pidfd: int,
        identity: ProcessIdentity,
        *,
        runtime: Path,
        accelerator: str,
        child: subprocess.Popen[bytes] | None = None,
        log: Path | None = None,
        state: Path | None = None,
    ) -> None:
        """``state``: what it is still to begin in."""
        self.identity = identity
        self.accelerator = accelerator
        self._pidfd = pidfd
        self._runtime = runtime
        self._child = child
        self._log = log
        self._state = state
        self._qmp: QmpClient | None = None
        self._gone = trio.Event()
        self._adding = trio.Lock()

    async def attend(
        self,
        on_event: Callable[[MachineEvent], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> bool:
        try:
            qmp = await self._negotiated()
            task_status.started()
            return await self._follow(qmp, on_event)
        finally:
            if self._qmp is not None:
                await self._qmp.aclose()
                self._qmp = None

    async def _negotiated(self) -> QmpClient:
        try:
            with trio.fail_after(START_DEADLINE_S):
                stream = await trio.open_unix_socket(str(self._runtime / _QMP))
                self._qmp = QmpClient(stream)
                await self._qmp.negotiate()
                if self._state is not None:
                    await load_state(self._qmp, self._state)
                    self._state = None
                return self._qmp
        except (OSError, ConnectionLost, VmmError, trio.TooSlowError) as error:
            if self._child is None:
                # Adopted: a guest may well be running in it, so it is left alone.
                pid = self.identity.pid
                raise VmmError(f"QEMU, pid {pid}, can't be controlled: {error}") from None
            await self.kill()
            raise VmmError(f"QEMU did not come up: {self._last_words() or error}") from None

    async def _follow(self, qmp: QmpClient, on_event: Callable[[MachineEvent], None]) -> bool:
        shut_down = False
        try:
            while True:
                match await qmp.next_event():
                    case "SHUTDOWN":
                        shut_down = True
                    case "RESET":
                        on_event(MachineEvent.GUEST_RESET)
        except ConnectionLost:
            await self._exited()
        return shut_down

    async def dial(self, channel: int) -> trio.abc.Stream:
        path = self._runtime / _agent(channel)
        async with self._adding:
            if not path.exists():
                # Whole or not at all: half of a port would block its channel for ever.
                with trio.move_on_after(PORT_DEADLINE_S) as deadline:
                    deadline.shield = True
                    await self._add_port(channel, path)
                if deadline.cancelled_caught:
                    raise VmmError(f"QEMU adds no agent port within {PORT_DEADLINE_S:.0f} s")
        return await trio.open_unix_socket(str(path))

    async def _add_port(self, channel: int, path: Path) -> None:
        """Plug in an agent port that the machine was started without."""
        qmp = self._control()
        name = f"agent{channel}"
        try:
            with _listener(path) as sock:
                await qmp.pass_descriptor(name, sock.fileno())
                address = {"type": "fd", "data": {"str": name}}
                options = {"addr": address, "server": True, "wait": False}
                backend = {"type": "socket", "data": options}
                await qmp.execute("chardev-add", id=name, backend=backend)
            await qmp.execute("device_add", **agent_port(channel))
        except BaseException:
            _remove(path)
            raise

    async def open_console(self) -> trio.abc.Stream:
        return await trio.open_unix_socket(str(self._runtime / _CONSOLE))

    async def booted(self) -> None:
        await self._control().execute("set-action", reboot="reset")
        # QEMU keeps the kernel's file mapped, for a reset: 45 MiB that nobody reads meanwhile.
        await trio.to_thread.run_sync(self._page_kernel_out)

    def _page_kernel_out(self) -> None:
        page_out(self._pidfd, self.identity.pid, "vmlinux")

    async def pause(self) -> None:
        await self._control().execute("stop")

    async def resume(self) -> None:
        await self._control().execute("cont")

    async def is_paused(self) -> bool:
        return not (await self._control().execute("query-status"))["running"]

    async def save(self, file: int) -> None:
        await save_state(self._control(), file)

    async def snapshot(self, file: int, switches: Mapping[str, DiskSwitch]) -> float:
        return await snapshot(self._control(), file, switches)

    async def may_fork(self) -> bool:
        # In KVM it was never seen that devices come to rest.
        if self.accelerator != "tcg" or (await self.fittings()).balloon:
            return False
        return await trio.to_thread.run_sync(is_little, self.identity)

    async def copy_base(self, ram: RamFile) -> None:
        with await trio.to_thread.run_sync(opened, self.identity) as memory:
            await trio.to_thread.run_sync(memory.copy_file, ram)

    async def fork(self, file: int, ram: RamFile, switches: Mapping[str, DiskSwitch]) -> float:
        with await trio.to_thread.run_sync(opened, self.identity) as memory:
            return await fork(self._control(), memory, file, ram, switches)

    async def drop_snapshot(self) -> None:
        await drop_snapshot(self._control())

    async def fittings(self) -> Fittings:
        arguments = await trio.to_thread.run_sync(process.arguments, self.identity.pid)
        return Fittings(
            agent_ports=sum((self._runtime / _agent(port)).exists() for port in range(AGENT_PORTS)),
            balloon=any(word.startswith(BALLOON) for word in arguments),
        )

    async def resize_disk(self, serial: str, size_bytes: int) -> None:
        await self._control().execute("block_resize", **{"node-name": serial, "size": size_bytes})

    async def press_power_button(self) -> None:
        await self._control().execute("system_powerdown")

    def _control(self) -> QmpClient:
        if self._qmp is None:
            raise ConnectionLost("QEMU's control socket is closed")
        return self._qmp

    async def kill(self) -> None:
        if not self._gone.is_set():
            process.send_signal(self._pidfd, signal.SIGKILL)
            await self._exited()

    def close(self) -> None:
        if self._pidfd < 0:
            return
        os.close(self._pidfd)
        self._pidfd = -1
        if self._child is not None:
            # The process is meant to outlive this object; say so, or Popen complains.
            self._child.returncode = self._child.returncode or 0

    async def _exited(self) -> None:
        if self._gone.is_set():
            return
        # A descriptor of one's own: trio lets only one task wait for each.
        pidfd = os.dup(self._pidfd)
        try:
            await trio.lowlevel.wait_readable(pidfd)
            if not self._gone.is_set():
                process.reap(pidfd)
                self._gone.set()
        finally:
            os.close(pidfd)

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        lines = self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").split("\n")
        return " / ".join(line.strip() for line in lines[-4:] if line.strip())


class QemuDriver:
    name = "qemu"
    traits = Traits(
        disk_formats=(DiskFormat.OVERLAY, DiskFormat.RAW), agent_channels=AGENT_PORTS, saves=True
    )

    def __init__(self, binary: str, *, accelerator: Accelerator, user: User | None) -> None:
        """``user``: whom QEMU runs as; None: as this process."""
        self._binary = binary
        self._accelerator = accelerator
        self._user = user

    @property
    def accelerator(self) -> str | None:
        return self._accelerator.chosen

    async def launch(self, plan: MachinePlan) -> QemuMachine:
        return await trio.to_thread.run_sync(self._launch, plan)

    async def adopt(self, identity: ProcessIdentity, runtime: Path) -> QemuMachine | None:
        pidfd = process.open_process(identity)
        if pidfd is None:
            return None
        arguments = process.arguments(identity.pid)
        accelerator = "kvm" if "kvm" in arguments else "tcg"
        return QemuMachine(pidfd, identity, runtime=runtime, accelerator=accelerator)

    async def find(self, machine_id: str) -> ProcessIdentity | None:
        return await trio.to_thread.run_sync(self._find, machine_id)

    async def forget(self, runtime: Path) -> None:
        await trio.to_thread.run_sync(lambda: shutil.rmtree(runtime, ignore_errors=True))

    def _find(self, machine_id: str) -> ProcessIdentity | None:
        for pid in process.find_by_argument(str(uuid.UUID(machine_id))):
            if (identity := process.identify(pid)) is not None:
                return identity
        return None

    def _found(self) -> str:
        binary = shutil.which(self._binary)
        if binary is None:
            raise HostNotReady(
                f"{self._binary!r} is not installed",
                hint="install the Debian package qemu-system-x86",
            )
        return binary

    async def likeness(self, plan: MachinePlan) -> str:
        return await trio.to_thread.run_sync(self._likeness, plan)

    def _likeness(self, plan: MachinePlan) -> str:
        return likeness(self._found(), plan, self._accelerator.choose(plan.kernel))

    def _launch(self, plan: MachinePlan) -> QemuMachine:
        binary = self._found()
        accelerator = self._accelerator.choose(plan.kernel)
        plan.runtime.mkdir(mode=0o700, parents=True)
        with contextlib.ExitStack() as stack:
            fds = _open_all(plan, stack)
            if self._user is not None:
                # QEMU opens it by itself, and it holds the guest's host key.
                os.fchown(fds.initramfs, self._user.uid, self._user.gid)
            argv = qemu_arguments(
                binary,
                plan,
                fds,
                accelerator=accelerator,
                tsc_khz=tsc_khz() if accelerator == "tcg" else None,
            )
            log = stack.enter_context(plan.log.open("wb"))
            try:
                child = subprocess.Popen(
                    ["nice", *argv] if plan.background else argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=fds.all(),
                    start_new_session=True,
                    cwd="/",
                    env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
                    **(self._user.popen_arguments() if self._user else {}),
                )
            except OSError as error:
                raise self._not_run(binary, error) from None
        pidfd = os.pidfd_open(child.pid)
        identity = process.identify(child.pid)
        if identity is None:
            process.reap(pidfd)
            os.close(pidfd)
            words = plan.log.read_text(errors="replace").strip()
            raise VmmError(f"QEMU ended at once: {words[-LOG_TAIL_BYTES:]}")
        return QemuMachine(
            pidfd,
            identity,
            runtime=plan.runtime,
            accelerator=accelerator,
            child=child,
            log=plan.log,
            state=plan.state,
        )

    def _not_run(self, binary: str, error: OSError) -> HostNotReady:
        by = f" by user {self._user.name!r}" if self._user else ""
        return HostNotReady(
            f"{binary} can't be run{by}: {error.strerror}",
            hint="the setting qemu.user must name one who may run it",
        )


def make_driver(context: DriverContext) -> QemuDriver:
    """The entry point of ``banger.vmm``."""
    text = context.settings.text
    binary, user = text("qemu.binary"), vmm_user(text("qemu.user"))
    memory = context.paths.runtime / "accelerator"
    accelerator = Accelerator(text("qemu.accelerator"), binary, memory, user=user)
    return QemuDriver(binary, accelerator=accelerator, user=user)


def _agent(channel: int) -> str:
    return f"agent{channel}.sock"


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _listener(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(check_socket_path(path))
        sock.listen(4)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_all(plan: MachinePlan, stack: contextlib.ExitStack) -> Descriptors:
    """Bind and open everything QEMU needs; the stack closes our copies."""

    def keep(fd: int) -> int:
        stack.callback(os.close, fd)
        return fd

    def listen(name: str) -> int:
        return stack.enter_context(_listener(plan.runtime / name)).fileno()

    def disk(path: Path, flags: int) -> int:
        return keep(os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW))

    try:
        return Descriptors(
            qmp=listen(_QMP),
            console=listen(_CONSOLE),
            agent=tuple(
                listen(_agent(channel)) for channel in range(plan.agent_ports or PORTS_AT_START)
            ),
            kernel=keep(os.open(plan.kernel, os.O_RDONLY | os.O_CLOEXEC)),
            initramfs=keep(os.open(plan.initramfs, os.O_RDONLY | os.O_CLOEXEC)),
            drives=tuple(
                (
                    disk(drive.path, os.O_RDWR),
                    *(disk(layer, os.O_RDONLY) for layer in reversed(drive.layers)),
                    *(() if drive.base is None else (disk(drive.base, os.O_RDONLY),)),
                )
                for drive in plan.drives
            ),
            cards=tuple(
                keep(open_tap(card.tap) if card.tap else open_loose_tap()) for card in plan.cards
            ),
            ram=None
            if plan.ram is None
            else keep(os.open(plan.ram.file, os.O_RDWR | os.O_CLOEXEC)),
        )
    except OSError as error:
        raise VmmError(f"a file of VM {plan.name!r} can't be opened: {error}") from None
