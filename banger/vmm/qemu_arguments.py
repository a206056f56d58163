"""QEMU's argument line for the microvm machine. Pure: a plan and descriptors in, argv out."""

from __future__ import annotations

import uuid

import msgspec

from banger.model.machine import DiskFormat
from banger.vmm.base import MachinePlan

AGENT_PORTS = 8
PORTS_AT_START = 2
"""Each port takes 4 MiB of the guest's memory; the others are added when they are needed."""

TRANSLATION_BUFFER_MIB = 32
"""TCG's cache of translated code. The default of a quarter of the guest's memory up to
1 GiB is what makes an ordinary emulated guest heavy; 64 MiB shows no slowdown."""

EMULATED_CPU = "qemu64,+arat"
"""ARAT lets the guest's idle CPU go without its 250 Hz tick: half the load of an idle VM."""

_MACHINE = "rtc=on,acpi=on,pcie=off,usb=off,isa-serial=on"
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


class Descriptors(msgspec.Struct, frozen=True):
    """Open descriptors that QEMU inherits, so it needs no right to any path.

    ``drives`` are (disk, base or None) in the plan's order; ``cards`` likewise.
    """

    qmp: int
    console: int
    agent: tuple[int, ...]
    kernel: int
    initramfs: int
    drives: tuple[tuple[int, int | None], ...]
    cards: tuple[int, ...]

    def all(self) -> tuple[int, ...]:
        drives = [fd for pair in self.drives for fd in pair if fd is not None]
        return (
            self.qmp,
            self.console,
            *self.agent,
            self.kernel,
            self.initramfs,
            *drives,
            *self.cards,
        )


_KERNEL_ARGUMENTS = (
    "console=ttyS0",
    "quiet",
    "panic=1",
    "reboot=t",
    "net.ifnames=0",
    "audit=0",
    # Self-tests of ciphers and probes for serial ports that are not there: 0.3 s of the boot.
    "cryptomgr.notests",
    "8250.nr_uarts=1",
)


def qemu_arguments(
    binary: str,
    plan: MachinePlan,
    fds: Descriptors,
    *,
    accelerator: str,
    tsc_khz: int | None = None,
) -> list[str]:
    """``tsc_khz`` is the host's time stamp counter's frequency, for software emulation."""
    # Without these three old devices Linux hangs in software emulation (seen with QEMU 7.2).
    legacy = "on" if accelerator == "tcg" else "off"
    return [
        binary,
        *("-name", f"{plan.name},debug-threads=on"),
        *("-uuid", str(uuid.UUID(plan.id))),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-sandbox", _SANDBOX),
        # Until the guest is up a reboot means that it did not come up: see QemuMachine.booted.
        *("-action", "reboot=shutdown"),
        *("-machine", f"microvm,pic={legacy},pit={legacy},{_MACHINE}"),
        *_accelerator(accelerator),
        *("-smp", str(plan.vcpus), "-m", str(plan.memory_mib)),
        *("-kernel", _opened(fds.kernel), "-initrd", _opened(fds.initramfs)),
        *("-append", " ".join([*_kernel_arguments(tsc_khz), *plan.kernel_arguments])),
        *_socket("qmp", fds.qmp),
        *("-mon", "chardev=qmp,mode=control"),
        *_socket("console", fds.console),
        *("-serial", "chardev:console"),
        *("-device", "virtio-rng-device"),
        *("-device", "virtio-balloon-device,free-page-reporting=on"),
        *_drives(plan, fds),
        *_cards(plan, fds),
        *_agent_ports(fds),
    ]


def _kernel_arguments(tsc_khz: int | None) -> list[str]:
    arguments = [*_KERNEL_ARGUMENTS]
    if tsc_khz is not None:
        arguments.append(f"tsc_early_khz={tsc_khz}")
    return arguments


def _opened(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _socket(name: str, fd: int) -> list[str]:
    return ["-chardev", f"socket,id={name},fd={fd},server=on,wait=off"]


def _accelerator(accelerator: str) -> list[str]:
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", f"tcg,thread=multi,tb-size={TRANSLATION_BUFFER_MIB}", "-cpu", EMULATED_CPU]


def _drives(plan: MachinePlan, fds: Descriptors) -> list[str]:
    argv: list[str] = []
    for index, (drive, (disk, base)) in enumerate(zip(plan.drives, fds.drives, strict=True)):
        serial = drive.serial
        argv += ["-add-fd", f"fd={disk},set={2 * index}"]
        file = f"driver=file,filename=/dev/fdset/{2 * index},node-name={serial}-file,discard=unmap"
        argv += ["-blockdev", file]
        # Formats are stated, never probed: a guest writes what it likes into its disk.
        if drive.format is DiskFormat.RAW:
            top = f"driver=raw,file={serial}-file,node-name={serial},discard=unmap"
        else:
            assert base is not None
            argv += ["-add-fd", f"fd={base},set={2 * index + 1}"]
            lower = f"filename=/dev/fdset/{2 * index + 1},node-name={serial}-base,read-only=on"
            argv += ["-blockdev", f"driver=file,{lower}"]
            top = (
                f"driver=qcow2,file={serial}-file,node-name={serial},"
                f"backing={serial}-base,discard=unmap"
            )
        # A full host disk is an error in the guest, not a guest that stands still.
        device = f"virtio-blk-device,drive={serial},serial={serial},werror=report,rerror=report"
        argv += ["-blockdev", top, "-device", device]
    return argv


def _cards(plan: MachinePlan, fds: Descriptors) -> list[str]:
    argv: list[str] = []
    for index, (card, fd) in enumerate(zip(plan.cards, fds.cards, strict=True)):
        argv += ["-netdev", f"tap,id=net{index},fd={fd}"]
        argv += ["-device", f"virtio-net-device,netdev=net{index},mac={card.mac}"]
    return argv


def _agent_ports(fds: Descriptors) -> list[str]:
    # Port 0 of a virtio-serial bus is reserved for a console.
    argv = ["-device", f"virtio-serial-device,max_ports={AGENT_PORTS + 1}"]
    for index, fd in enumerate(fds.agent):
        argv += _socket(f"agent{index}", fd)
        port = agent_port(index)
        argv += ["-device", ",".join(f"{key}={value}" for key, value in port.items())]
    return argv


def agent_port(index: int) -> dict[str, object]:
    """The device of an agent port; on the argument line its driver's name comes first."""
    return {
        "driver": "virtserialport",
        "id": f"port{index}",
        "chardev": f"agent{index}",
        "name": f"org.banger.agent.{index}",
        "nr": index + 1,
    }
