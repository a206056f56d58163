"""The image actor on directories of the test's own, with recipes that are shell scripts."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from banger.actors.image_register import RegisterImage
from banger.actors.images import BuildImage, Images
from banger.host.image_files import image_store
from banger.kernel.actor import Ref, mailbox
from banger.kernel.bus import Bus
from banger.kernel.errors import BangerError
from banger.kernel.store import RecordStore
from banger.model.image import BuildOutcome, ImageRecord, ImageView, RegisterOutcome
from banger.model.vm import VmRecord, VmSpec, VmState
from tests.unit.nursery import nursery_within

GOOD = """
echo "step: first"; echo "chatter of $BANGER_CAPABILITIES_ODD_WORD"; echo "step: second"
printf '{"kernel":"6.1.0","distribution":"Debian 12.9","more":[]}' >"$1/build.json"
head -c 4096 /dev/zero >"$1/root.ext4"
echo kernel >"$1/vmlinux"; chmod 0600 "$1/vmlinux"
echo modules >"$1/modules.cpio"
"""


class Installation:
    """The actor, its store, and what it is told of VMs."""

    def __init__(self, root: Path, ref: Ref, bus: Bus, store: RecordStore[ImageRecord]) -> None:
        self.root = root
        self.ref = ref
        self.bus = bus
        self.store = store
        self.vms: list[VmRecord] = []

    def recipe(self, script: str, name: str = "debian") -> None:
        write_recipe(self.root, name, f"#!/bin/sh\nset -e\n{script}")

    async def outcome(
        self, name: str = "debian", recipe: str = "debian", *, force: bool = False
    ) -> BuildOutcome:
        return await self.ref.ask(BuildImage(name, recipe, force=force))

    async def build(self, name: str = "debian", recipe: str = "debian") -> ImageView:
        """A new build, whatever there is."""
        return (await self.outcome(name, recipe, force=True)).image

    async def register(self, path: Path, name: str = "mine", **files: str) -> RegisterOutcome:
        return await self.ref.ask(RegisterImage(name, str(path), **files))

    async def error(self) -> BangerError:
        """Of a build that must fail and leave nothing."""
        before = self.left()
        with pytest.raises(BangerError) as caught:
            await self.build()
        assert self.left() == before
        return caught.value

    def left(self) -> set[str]:
        return {file.name for file in self.store.root.iterdir()}

    def partial(self) -> set[str]:
        """What is in the directory of images of builds under way, without their locks."""
        return {name for name in self.left() if not name.startswith(".lock-")}


def recipe(root: Path, name: str) -> Path:
    return root / "rootfs" / name / "build"


def write_recipe(root: Path, name: str, program: str) -> None:
    path = recipe(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(program)
    path.chmod(0o755)


@asynccontextmanager
async def running(root: Path) -> AsyncIterator[Installation]:
    (root / "images").mkdir(exist_ok=True)
    (root / "state").mkdir(exist_ok=True)
    store = image_store(root / "images")
    ref, inbox = mailbox("images")
    installation = Installation(root, ref, Bus(), store)
    actor = Images(
        store,
        installation.bus,
        vms=lambda: installation.vms,
        find_builder=lambda name: recipe(root, name),
        environment={"BANGER_CAPABILITIES_ODD_WORD": "hello"},
        state=root / "state",
        preset="debian",
    )
    async with nursery_within(20) as nursery:
        nursery.start_soon(actor.run, inbox)
        yield installation
        nursery.cancel_scope.cancel()


def vm_of(image_id: str, name: str = "web-1") -> VmRecord:
    return VmRecord(
        id="0" * 32,
        name=name,
        spec=VmSpec("debian", 1, 256, 1 << 30),
        image_id=image_id,
        state=VmState.STOPPED,
        created_at=0.0,
        address="",
        mac="",
        driver="qemu",
    )


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def started_pids(directory: Path, count: int) -> list[int]:
    """The pids that a builder has written down."""
    while True:
        try:
            pids = (directory / "pids").read_text().split()
        except FileNotFoundError:
            pids = []
        if len(pids) == count:
            return [int(pid) for pid in pids]
        await trio.sleep(0.01)


def make_root(
    path: Path, *, size: str = "32M", options: tuple[str, ...] = (), init: bool = True
) -> Path:
    """A small root file system, by mkfs.ext4."""
    tree = path.with_name(f"{path.name}.tree")
    (tree / "usr/lib/systemd").mkdir(parents=True)
    (tree / "usr/sbin").mkdir()
    (tree / "etc").mkdir()
    (tree / "root/dir").mkdir(parents=True)
    (tree / "root/.profile").write_text("hello\n")
    (tree / "root/link").symlink_to("/x")
    (tree / "lib").symlink_to("usr/lib")
    (tree / "sbin").symlink_to("usr/sbin")
    (tree / "usr/lib/os-release").write_text('NAME="Odd"\nPRETTY_NAME="Odd Linux 7"\n')
    (tree / "etc/os-release").symlink_to("../usr/lib/os-release")
    if init:
        program = tree / "usr/lib/systemd/systemd"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        (tree / "usr/sbin/init").symlink_to("/lib/systemd/systemd")
    argv = ["mkfs.ext4", "-q", "-F", *options, "-d", str(tree), str(path), size]
    subprocess.run(argv, check=True, capture_output=True)
    return path
