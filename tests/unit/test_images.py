"""Building images: all or nothing, and nobody left running."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from banger.actors.images import BuildImage, DescribeImage, FindImage, Images, ListImages
from banger.kernel.actor import Ref, mailbox
from banger.kernel.bus import Bus
from banger.kernel.errors import (
    BangerError,
    CommandFailed,
    Conflict,
    CorruptRecord,
    HostNotReady,
    NotFound,
)
from banger.kernel.store import RecordStore
from banger.model.events import BuildProgress
from banger.model.image import ImageRecord, ImageView
from banger.model.vm import VmRecord, VmSpec, VmState
from tests.unit.nursery import nursery_within

GOOD = """
echo "step: first"; echo "chatter of $BANGER_CAPABILITIES_ODD_WORD"; echo "step: second"
printf '{"kernel":"6.1.0","distribution":"Debian 12.9","more":[]}' >"$1/build.json"
head -c 4096 /dev/zero >"$1/root.ext4"
echo kernel >"$1/vmlinux"; chmod 0600 "$1/vmlinux"
echo modules >"$1/modules.cpio"
"""


class Builds:
    """The actor, its store, and recipes that are shell scripts."""

    def __init__(self, root: Path, ref: Ref, bus: Bus, store: RecordStore[ImageRecord]) -> None:
        self.root = root
        self.ref = ref
        self.bus = bus
        self.store = store
        self.vms: list[VmRecord] = []

    def recipe(self, script: str, name: str = "debian") -> None:
        write_recipe(self.root, name, f"#!/bin/sh\nset -e\n{script}")

    async def build(self, name: str = "debian", recipe: str = "debian") -> ImageView:
        return await self.ref.ask(BuildImage(name, recipe))

    async def error(self) -> BangerError:
        """Of a build that must fail and leave nothing."""
        before = self.left()
        with pytest.raises(BangerError) as caught:
            await self.build()
        assert self.left() == before
        return caught.value

    def left(self) -> set[str]:
        return {file.name for file in self.store.root.iterdir()}


def recipe(root: Path, name: str) -> Path:
    return root / "rootfs" / name / "build"


def write_recipe(root: Path, name: str, program: str) -> None:
    path = recipe(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(program)
    path.chmod(0o755)


@pytest.fixture
async def builds(tmp_path: Path) -> AsyncIterator[Builds]:
    async with running(tmp_path) as started:
        yield started


@asynccontextmanager
async def running(root: Path) -> AsyncIterator[Builds]:
    (root / "images").mkdir(exist_ok=True)
    store = RecordStore(root / "images", ImageRecord)
    ref, inbox = mailbox("images")
    builds = Builds(root, ref, Bus(), store)
    actor = Images(
        store,
        builds.bus,
        vms=lambda: builds.vms,
        find_builder=lambda name: recipe(root, name),
        environment={"BANGER_CAPABILITIES_ODD_WORD": "hello"},
    )
    async with nursery_within(20) as nursery:
        nursery.start_soon(actor.run, inbox)
        yield builds
        nursery.cancel_scope.cancel()


def vm_of(image_id: str) -> VmRecord:
    return VmRecord(
        id="0" * 32,
        name="web-1",
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


async def ended(pids: list[int]) -> bool:
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        await trio.sleep(0.01)
    return not any(alive(pid) for pid in pids)


async def test_success(builds: Builds) -> None:
    builds.recipe(GOOD)
    with builds.bus.subscribe(capacity=100) as events:
        view = await builds.build("mine")
        progress: list[object] = [await anext(events) for _ in range(3)]
    assert progress == [
        BuildProgress("mine", "first", "step: first"),
        BuildProgress("mine", "", "chatter of hello"),
        BuildProgress("mine", "second", "step: second"),
    ]
    assert (view.name, view.recipe, view.kernel_version) == ("mine", "debian", "6.1.0")
    assert view.distribution == "Debian 12.9"
    assert view.disk_bytes == 4096
    assert view.vms == []
    assert builds.left() == {view.id}
    directory = Path(view.path)
    assert (directory / "vmlinux").stat().st_mode & 0o777 == 0o644
    record = await builds.ref.ask(FindImage("mine"))
    assert record.id == view.id
    assert await builds.ref.ask(DescribeImage("mine")) == view
    assert await builds.ref.ask(ListImages()) == [view]


async def test_newer_build_replaces_one_without_vms(builds: Builds) -> None:
    builds.recipe(GOOD)
    first = await builds.build()
    second = await builds.build()
    assert builds.left() == {second.id}
    builds.vms.append(vm_of(second.id))
    third = await builds.build()
    other = await builds.build("other")
    assert builds.left() == {second.id, third.id, other.id}
    assert (await builds.ref.ask(FindImage("debian"))).id == third.id
    builds.vms.append(vm_of(third.id))
    assert (await builds.ref.ask(DescribeImage("debian"))).vms == ["web-1"]
    assert len({first.id, second.id, third.id}) == 3


async def test_nothing_there(builds: Builds) -> None:
    with pytest.raises(NotFound, match="no image 'debian'"):
        await builds.ref.ask(FindImage("debian"))
    with pytest.raises(NotFound):
        await builds.ref.ask(DescribeImage("debian"))
    assert await builds.ref.ask(ListImages()) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo partial >$1/root.ext4; echo 'no network' >&2; exit 3", "exit 3: no network"),
        ("kill -9 $$", "signal 9: no message"),
        ("printf 'not text: \\377\\n' >&2; exit 1", "exit 1: not text"),
    ],
)
async def test_failing_builder(
    script: str, said: str, builds: Builds, caplog: pytest.LogCaptureFixture
) -> None:
    builds.recipe(script)
    error = await builds.error()
    assert isinstance(error, CommandFailed)
    assert said in error.message
    assert "building image debian failed" in caplog.text
    builds.recipe(GOOD)
    await builds.build()


@pytest.mark.parametrize(
    "script",
    [
        "exit 0",
        f"{GOOD} rm $1/build.json",
        f"{GOOD} rm $1/root.ext4",
        f"{GOOD} rm $1/vmlinux",
        f"{GOOD} echo '[' >$1/build.json",
        f"{GOOD} echo '{{}}' >$1/build.json",
        f'{GOOD} printf \'{{"kernel":"\\377"}}\' >$1/build.json',
        f'{GOOD} echo \'{{"kernel":1,"debian":2}}\' >$1/build.json',
        f"{GOOD} rm -r $1",
    ],
)
async def test_unusable_result(script: str, builds: Builds) -> None:
    builds.recipe(script)
    error = await builds.error()
    assert isinstance(error, CorruptRecord)
    assert "the recipe 'debian' left no usable image" in error.message


@pytest.mark.parametrize("program", ["no program", "#!/nonexistent/shell\n"])
async def test_builder_that_does_not_start(program: str, builds: Builds) -> None:
    write_recipe(builds.root, "debian", program)
    assert isinstance(await builds.error(), HostNotReady)
    builds.recipe(GOOD)
    await builds.build()


async def test_place_that_can_not_be_written(builds: Builds) -> None:
    builds.recipe(GOOD)
    builds.store.root.rmdir()
    builds.store.root.touch()
    with pytest.raises(HostNotReady, match="can't be built"):
        await builds.build()
    builds.store.root.unlink()
    await builds.build()


@pytest.mark.parametrize(
    "script",
    [
        "sleep 1000 & echo $$ $! >pids.new; mv pids.new pids; wait",
        # Asked to end, it does; what it started does not care.
        "(trap '' TERM; sleep 1000) & echo $$ $! >pids.new; mv pids.new pids; wait",
    ],
    ids=["obedient", "stubborn child"],
)
async def test_cancelled_build_leaves_nothing(script: str, builds: Builds) -> None:
    builds.recipe(f"cd {builds.root}; {script}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(builds.build)
        pids = await started_pids(builds.root, 2)
        assert all(alive(pid) for pid in pids)
        (partial,) = builds.left()
        assert partial.startswith(".building-debian-")
        nursery.cancel_scope.cancel()
    assert await ended(pids)
    while builds.left():
        await trio.sleep(0.01)
    builds.recipe(GOOD)
    await builds.build()


async def test_builder_may_clean_up_when_it_is_cancelled(builds: Builds) -> None:
    builds.recipe(
        f"cd {builds.root}; trap 'echo cleaned >cleaned; exit 1' TERM\n"
        "echo $$ >pids.new; mv pids.new pids; while :; do sleep 0.01; done"
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(builds.build)
        pids = await started_pids(builds.root, 1)
        nursery.cancel_scope.cancel()
    assert await ended(pids)
    assert (builds.root / "cleaned").read_text() == "cleaned\n"


async def test_the_actors_end_ends_its_builders(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery, running(tmp_path) as builds:
        builds.recipe(f"cd {tmp_path}; echo $$ >pids.new; mv pids.new pids; exec sleep 1000")

        async def build() -> None:
            with pytest.raises(BangerError):
                await builds.build()

        nursery.start_soon(build)
        pids = await started_pids(tmp_path, 1)
    assert await ended(pids)
    assert builds.left() == set()


async def test_two_builds_at_once(builds: Builds) -> None:
    """Of one name only one; of several names they run beside each other."""
    fifo = builds.root / "go"
    os.mkfifo(fifo)
    builds.recipe(f"read word <{fifo}\n{GOOD}", "slow")
    builds.recipe(GOOD)
    views: list[ImageView] = []

    async def build_slow() -> None:
        views.append(await builds.build("one", "slow"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(build_slow)
        while not builds.left():
            await trio.sleep(0.01)
        with pytest.raises(Conflict, match="'one' is being built already"):
            await builds.build("one")
        other = await builds.build("two")
        assert [view.name for view in await builds.ref.ask(ListImages())] == ["two"]
        await trio.to_thread.run_sync(fifo.write_text, "go\n")
    assert builds.left() == {other.id, views[0].id}
    await builds.build("one")


async def test_leavings_of_a_crash_are_swept(tmp_path: Path) -> None:
    async with running(tmp_path) as builds:
        builds.recipe(GOOD)
        view = await builds.build()
    for name in (".building-debian-01234567", ".deleting-debian-89abcdef"):
        (tmp_path / "images" / name).mkdir()
        (tmp_path / "images" / name / "root.ext4").touch()
    async with running(tmp_path) as builds:
        assert await builds.ref.ask(ListImages()) == [view]
        assert builds.left() == {view.id}


async def test_damaged_record_harms_only_its_image(
    builds: Builds, caplog: pytest.LogCaptureFixture
) -> None:
    builds.recipe(GOOD)
    first, second = await builds.build("one"), await builds.build("two")
    (Path(first.path) / "record.json").write_text("{")
    assert await builds.ref.ask(ListImages()) == [second]
    with pytest.raises(NotFound):
        await builds.ref.ask(FindImage("one"))
    assert "can't be read" in caplog.text
    assert msgspec.json.decode((Path(second.path) / "record.json").read_bytes())
