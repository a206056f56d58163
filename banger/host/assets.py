"""What the checkout brings beside the Python code: the guest agent and recipes of images."""

from __future__ import annotations

from pathlib import Path

from banger.kernel.errors import HostNotReady

_CHECKOUT = Path(__file__).resolve().parents[2]


_RUNTIME = _CHECKOUT / "runtime"
_chosen: list[Path] = []


def choose_agent(path: Path | None) -> None:
    """From now on this is the guest agent, as the setting ``guest.agent`` says; None: any."""
    _chosen[:] = [] if path is None else [path]


def agent_binary() -> Path:
    """The chosen one, the one that was built, or that of the runtime bundle."""
    if _chosen:
        (path,) = _chosen
        if not path.is_file():
            raise HostNotReady(
                f"the guest agent {path} is missing", hint="mend the setting guest.agent"
            )
        return path
    built = _CHECKOUT / "guest-agent" / "build" / "banger-agent"
    for path in (built, _RUNTIME / "banger-agent"):
        if path.exists():
            return path
    raise HostNotReady(f"the guest agent is not built: {built} is missing", hint="run 'make setup'")


def work_seed_program() -> Path:
    """The program that makes a work seed of a directory."""
    return _CHECKOUT / "rootfs" / "work-seed"


def image_maker() -> Path:
    """The program that makes an image of a recipe's TOML file."""
    return _CHECKOUT / "rootfs" / "make-image"


def image_of_vm_maker() -> Path:
    """The program that makes an image of a VM's disks."""
    return _CHECKOUT / "rootfs" / "from-vm"


def debian_recipe() -> Path:
    """The program that builds the Debian image."""
    return _CHECKOUT / "rootfs" / "debian" / "build"


def bundle_recipe() -> Path:
    """The program that takes the image of the runtime bundle."""
    return _CHECKOUT / "rootfs" / "bundle" / "build"
