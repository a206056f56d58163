"""Building images: all or nothing, and nobody left running."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from banger.actors.images import DescribeImage, FindImage, ListImages
from banger.kernel.errors import (
    BangerError,
    CommandFailed,
    Conflict,
    CorruptRecord,
    HostNotReady,
    NotFound,
)
from banger.model.events import BuildProgress
from banger.model.image import ImageState, ImageView
from tests.unit.image_actor import (
    GOOD,
    Installation,
    alive,
    running,
    started_pids,
    vm_of,
    write_recipe,
)


@pytest.fixture
async def builds(tmp_path: Path) -> AsyncIterator[Installation]:
    async with running(tmp_path) as started:
        yield started


async def ended(pids: list[int]) -> bool:
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        await trio.sleep(0.01)
    return not any(alive(pid) for pid in pids)


async def test_success(builds: Installation) -> None:
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


async def test_newer_build_replaces_one_without_vms(builds: Installation) -> None:
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


async def test_nothing_there(builds: Installation) -> None:
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
    script: str, said: str, builds: Installation, caplog: pytest.LogCaptureFixture
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
async def test_unusable_result(script: str, builds: Installation) -> None:
    builds.recipe(script)
    error = await builds.error()
    assert isinstance(error, CorruptRecord)
    assert "the recipe 'debian' left no usable image" in error.message


@pytest.mark.parametrize("program", ["no program", "#!/nonexistent/shell\n"])
async def test_builder_that_does_not_start(program: str, builds: Installation) -> None:
    write_recipe(builds.root, "debian", program)
    assert isinstance(await builds.error(), HostNotReady)
    builds.recipe(GOOD)
    await builds.build()


async def test_place_that_can_not_be_written(builds: Installation) -> None:
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
async def test_cancelled_build_leaves_nothing(script: str, builds: Installation) -> None:
    builds.recipe(f"cd {builds.root}; {script}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(builds.build)
        pids = await started_pids(builds.root, 2)
        assert all(alive(pid) for pid in pids)
        (partial,) = builds.partial()
        assert partial.startswith(".building-debian-")
        nursery.cancel_scope.cancel()
    assert await ended(pids)
    while builds.left():
        await trio.sleep(0.01)
    builds.recipe(GOOD)
    await builds.build()


async def test_builder_may_clean_up_when_it_is_cancelled(builds: Installation) -> None:
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


async def test_two_builds_at_once(builds: Installation) -> None:
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
        while not builds.partial():
            await trio.sleep(0.01)
        with pytest.raises(Conflict, match="'one' is being built since"):
            await builds.build("one")
        other = await builds.build("two")
        views_now = await builds.ref.ask(ListImages())
        assert [(view.name, view.state) for view in views_now] == [
            ("one", ImageState.BUILDING),
            ("two", ImageState.READY),
        ]
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
    builds: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    builds.recipe(GOOD)
    first, second = await builds.build("one"), await builds.build("two")
    (Path(first.path) / "record.json").write_text("{")
    assert await builds.ref.ask(ListImages()) == [second]
    with pytest.raises(NotFound):
        await builds.ref.ask(FindImage("one"))
    assert "can't be read" in caplog.text
    assert msgspec.json.decode((Path(second.path) / "record.json").read_bytes())
