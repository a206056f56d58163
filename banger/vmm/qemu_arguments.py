"""QEMU's argument line for the microvm machine. Pure: a plan and descriptors in, argv out."""

from __future__ import annotations

import itertools
import uuid

import msgspec

from banger.model.machine import DiskFormat, Drive
from banger.vmm.base import MachinePlan

AGENT_PORTS = 8
BALLOON = "virtio-balloon-device"
PORTS_AT_START = 2
"""Each port takes 4 MiB of the guest's memory; the others are added when they are needed."""

TRANSLATION_BUFFER_MIB = 32
"""TCG's cache of translated code. The default of a quarter of the guest's memory up to
1 GiB is what makes an ordinary emulated guest heavy; 64 MiB shows no slowdown."""

WARM_TRANSLATION_BUFFER_MIB = 64
"""For a VM that begins in a warm seed, with nothing translated: its first ssh login fills 42 MiB,
and in a buffer of 32 all is thrown away and done again three times. Pages not used cost nothing."""

EMULATED_CPU = "qemu64,+arat"
"""ARAT lets the guest's idle CPU go without its 250 Hz tick: half the load of an idle VM."""

_MACHINE = "memory-backend=ram,rtc=on,acpi=on,pcie=off,usb=off,isa-serial=on"
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


class Descriptors(msgspec.Struct, frozen=True):
    """Open descriptors that QEMU inherits, so it needs no right to any path.

    ``drives`` are the files of each, the topmost first, in the plan's order; ``cards`` likewise.
    """

    qmp: int
    console: int
    agent: tuple[int, ...]
    kernel: int
    initramfs: int
    drives: tuple[tuple[int, ...], ...]
    cards: tuple[int, ...]
    ram: int | None = None

    def all(self) -> tuple[int, ...]:
        drives = [fd for files in self.drives for fd in files]
        ram = () if self.ram is None else (self.ram,)
        return (
            self.qmp,
            self.console,
            *self.agent,
            self.kernel,
            self.initramfs,
            *drives,
            *self.cards,
            *ram,
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
        *_memory(plan, fds),
        *_accelerator(accelerator, plan),
        *("-smp", str(plan.vcpus)),
        *("-kernel", _opened(fds.kernel), "-initrd", _opened(fds.initramfs)),
        *("-append", " ".join([*_kernel_arguments(tsc_khz), *plan.kernel_arguments])),
        *_socket("qmp", fds.qmp),
        *("-mon", "chardev=qmp,mode=control"),
        *_socket("console", fds.console),
        *("-serial", "chardev:console"),
        *("-device", "virtio-rng-device"),
        *_balloon(plan),
        *_drives(plan, fds),
        *_cards(plan, fds),
        *_agent_ports(fds),
        *(("-S", "-incoming", "defer") if plan.state is not None else ()),
    ]


def _kernel_arguments(tsc_khz: int | None) -> list[str]:
    arguments = [*_KERNEL_ARGUMENTS]
    if tsc_khz is not None:
        # The watchdog takes a busy host for a counter that is wrong, and leaves the guest with a
        # clock of 4 ms for good. (Seen in a third of the guests at a load of 5.)
        arguments += [f"tsc_early_khz={tsc_khz}", "tsc=nowatchdog"]
    return arguments


def _opened(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _socket(name: str, fd: int) -> list[str]:
    return ["-chardev", f"socket,id={name},fd={fd},server=on,wait=off"]


def _accelerator(accelerator: str, plan: MachinePlan) -> list[str]:
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    buffer_mib = TRANSLATION_BUFFER_MIB if plan.ram is None else WARM_TRANSLATION_BUFFER_MIB
    return ["-accel", f"tcg,thread=multi,tb-size={buffer_mib}", "-cpu", EMULATED_CPU]


def _memory(plan: MachinePlan, fds: Descriptors) -> list[str]:
    # Named, and not left to the machine: a state tells by this name what memory it is about.
    if plan.ram is None:
        backend = f"memory-backend-ram,id=ram,size={plan.memory_mib}M"
    else:
        assert fds.ram is not None
        share = "on" if plan.ram.shared else "off"
        backend = (
            f"memory-backend-file,id=ram,size={plan.memory_mib}M,"
            f"mem-path={_opened(fds.ram)},share={share}"
        )
    return ["-m", str(plan.memory_mib), "-object", backend]


def _balloon(plan: MachinePlan) -> list[str]:
    return ["-device", f"{BALLOON},free-page-reporting=on"] if plan.balloon else []


def _drives(plan: MachinePlan, fds: Descriptors) -> list[str]:
    argv: list[str] = []
    sets = itertools.count()
    for drive, files in zip(plan.drives, fds.drives, strict=True):
        names = _names(drive)
        below = ""
        # Formats are stated, never probed: a guest writes what it likes into its disk.
        for name, fd in reversed([*zip(names, files, strict=True)]):
            number = next(sets)
            frozen = "read-only=on" if name != drive.serial else "discard=unmap"
            file = f"driver=file,filename=/dev/fdset/{number}"
            argv += ["-add-fd", f"fd={fd},set={number}"]
            if drive.base is not None and not below:
                argv += ["-blockdev", f"{file},node-name={name},{frozen}"]
            else:
                driver = "raw" if drive.format is DiskFormat.RAW else "qcow2"
                top = f"driver={driver},file={name}-file,node-name={name}"
                argv += ["-blockdev", f"{file},node-name={name}-file,{frozen}"]
                argv += ["-blockdev", f"{top}{below},{frozen}"]
            below = f",backing={name}"
        # A full host disk is an error in the guest, not a guest that stands still.
        serial = drive.serial
        device = f"virtio-blk-device,drive={serial},serial={serial},werror=report,rerror=report"
        argv += ["-device", device]
    return argv


def _names(drive: Drive) -> list[str]:
    """The block nodes of a drive's files, the topmost first."""
    layers = [f"{drive.serial}-layer{index}" for index in range(len(drive.layers))]
    base = [] if drive.base is None else [f"{drive.serial}-base"]
    return [drive.serial, *reversed(layers), *base]


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
