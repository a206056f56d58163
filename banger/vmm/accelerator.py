"""KVM or software emulation: found out by running a guest, not by looking at /dev/kvm.

On nested hosts /dev/kvm can exist, open and create VMs and still not run one. So a kernel
is booted under KVM with a short deadline, up to the first words of its init; the answer
is remembered for this boot of the host.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import subprocess
import tempfile
import threading
from pathlib import Path

from banger.host import assets, cpio, process
from banger.host.user import User
from banger.kernel.store import write_durably

log = logging.getLogger(__name__)

PROBE_DEADLINE_S = 4.0
PROBE_OK = b"banger-init: PROBE OK"

_KVM = Path("/dev/kvm")


class Accelerator:
    """``wanted`` is the setting: auto, kvm or tcg. ``memory`` is the file that remembers."""

    def __init__(self, wanted: str, binary: str, memory: Path, *, user: User | None = None) -> None:
        """``user``: whom the VMM will run as."""
        self._binary = binary
        self._memory = memory
        self._user = user
        self.chosen: str | None = None if wanted == "auto" else wanted
        self._choosing = threading.Lock()
        """A VM's start and the seeds may ask at once, in threads."""

    def choose(self, kernel: Path) -> str:
        """ "kvm" or "tcg". Blocks for up to `PROBE_DEADLINE_S` once a boot of the host."""
        with self._choosing:
            if self.chosen is None:
                self.chosen = self._remembered() or self._find_out(kernel)
            return self.chosen

    def _remembered(self) -> str | None:
        try:
            boot_id, answer = self._memory.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return answer if boot_id == process.boot_id() and answer in ("kvm", "tcg") else None

    def _find_out(self, kernel: Path) -> str:
        answer = "kvm" if _KVM.exists() and self._runs(kernel) else "tcg"
        if answer == "tcg":
            log.warning(
                "no guest runs in KVM here: VMs are emulated in software, which is slower "
                "and is no boundary against hostile guests"
            )
        write_durably(self._memory, f"{process.boot_id()} {answer}\n".encode())
        return answer

    def _runs(self, kernel: Path) -> bool:
        """Whether a kernel gets as far as its init under KVM."""
        agent = assets.agent_binary().read_bytes()
        init = cpio.archive([cpio.Entry("init", stat.S_IFREG | 0o755, agent)])
        # Open files, for the user that QEMU runs as may have no right to their paths.
        with kernel.open("rb") as kernel_file, tempfile.TemporaryFile() as initramfs:
            initramfs.write(init)
            initramfs.flush()
            os.fchmod(initramfs.fileno(), 0o644)
            fds = (kernel_file.fileno(), initramfs.fileno())
            argv = [
                *(self._binary, "-nodefaults", "-no-user-config", "-display", "none"),
                *("-machine", "microvm,isa-serial=on", "-accel", "kvm", "-cpu", "host"),
                *("-m", "128", "-serial", "stdio", "-no-reboot"),
                *("-kernel", f"/proc/self/fd/{fds[0]}", "-initrd", f"/proc/self/fd/{fds[1]}"),
                *("-append", "console=ttyS0 quiet panic=-1 banger.probe"),
            ]
            with contextlib.suppress(subprocess.TimeoutExpired, OSError):
                done = subprocess.run(
                    argv,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=PROBE_DEADLINE_S,
                    check=False,
                    pass_fds=fds,
                    **(self._user.popen_arguments() if self._user else {}),
                )
                return PROBE_OK in done.stdout
        return False


def tsc_khz() -> int | None:
    """The frequency of this host's time stamp counter in kHz, as near as /proc tells."""
    match = re.search(r"^cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return round(float(match[1]) * 1000) if match else None
