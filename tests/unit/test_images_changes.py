"""What becomes of images: unchanged, renamed, deleted, pruned; builds cancelled and orphaned."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from banger.actors.image_orphans import BuildNote
from banger.actors.images import (
    CancelBuild,
    DeleteImage,
    DescribeImage,
    FindImage,
    GetDefault,
    ListImages,
    PruneImages,
    ReadBuildLog,
    RenameImage,
    SetDefault,
)
from banger.host import file_lock, process
from banger.host.image_files import image_store, usable_files
from banger.kernel.errors import BangerError, Conflict, HostNotReady, NotFound
from banger.model.image import DefaultImage, ImageRecord, ImageState
from banger.model.process import ProcessIdentity
from tests.unit.image_actor import (
    GOOD,
    Installation,
    alive,
    recipe,
    running,
    started_pids,
    vm_of,
)

SLOW = "echo 'step: waiting'; echo noise >&2; cd $(dirname $0)/../..; echo $$ >new; mv new pids"
GONE = ProcessIdentity(1, 1, "a boot long ago")


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Installation]:
    async with running(tmp_path) as started:
        started.recipe(GOOD)
        yield started


# --- unchanged ---


async def test_an_unchanged_recipe_is_not_built_again(images: Installation) -> None:
    first = await images.outcome()
    assert first.built and len(first.image.key) == 64
    images.recipe("exit 1 # never run", "other")
    again = await images.outcome()
    assert (again.built, again.image) == (False, first.image)
    forced = await images.outcome(force=True)
    assert forced.built
    assert forced.image.key == first.image.key
    assert forced.image.id != first.image.id


@pytest.mark.parametrize("change", ["file", "mode", "content", "name", "link", "shared"])
async def test_any_change_of_the_recipe_counts(images: Installation, change: str) -> None:
    directory = recipe(images.root, "debian").parent
    (directory / "tree").mkdir()
    (directory / "tree/motd").write_text("hello")
    (directory / "link").symlink_to("motd")
    (directory / "__pycache__").mkdir()
    first = await images.outcome()
    (directory / "__pycache__/x.pyc").touch()
    assert not (await images.outcome()).built
    match change:
        case "file":
            (directory / "tree/issue").touch()
        case "mode":
            (directory / "tree/motd").chmod(0o755)
        case "content":
            (directory / "tree/motd").write_text("hallo")
        case "name":
            (directory / "tree/motd").rename(directory / "tree/modt")
        case "link":
            (directory / "link").unlink()
            (directory / "link").symlink_to("elsewhere")
        case "shared":
            (directory.parent / "tool").touch()
            (directory.parent / "tool").chmod(0o755)
    second = await images.outcome()
    assert second.built
    assert second.image.key != first.image.key


async def test_a_damaged_build_is_built_again(images: Installation) -> None:
    first = (await images.outcome()).image
    (Path(first.path) / "modules.cpio").unlink()
    view = await images.ref.ask(DescribeImage("debian"))
    assert view.state is ImageState.UNUSABLE and "modules.cpio is missing" in view.problem
    with pytest.raises(HostNotReady, match=r"modules\.cpio is missing"):
        usable_files(images.store.root, first.id)
    assert (await images.outcome()).built


async def test_records_of_the_first_version(images: Installation) -> None:
    view = await images.build()
    old = {
        "id": view.id,
        "name": "debian",
        "recipe": "debian",
        "built_at": 1.0,
        "root_bytes": 4096,
        "kernel_version": "6.1",
        "distribution": "Debian 12",
    }
    document = msgspec.json.encode({"version": 1, "record": old})
    (Path(view.path) / "record.json").write_bytes(document)
    record = await images.ref.ask(FindImage("debian"))
    assert record == ImageRecord(**old)  # type: ignore[arg-type]
    assert record.key == ""
    assert (await images.outcome()).built


async def test_two_builds_of_one_recipe_at_once(images: Installation) -> None:
    """Under two names both are built; under one name the second is told of the first."""
    images.recipe(f"{GOOD}\nsleep 0.3")
    built: list[str] = []
    refused: list[Conflict] = []

    async def build(name: str) -> None:
        try:
            built.append((await images.outcome(name)).image.name)
        except Conflict as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        for name in ("one", "two", "one"):
            nursery.start_soon(build, name)
    assert sorted(built) == ["one", "two"]
    (error,) = refused
    assert "image 'one' is being built since" in error.message
    views = {view.name: view for view in await images.ref.ask(ListImages())}
    assert views["one"].key == views["two"].key
    assert views["one"].path != views["two"].path


# --- the default ---


async def test_the_default(images: Installation) -> None:
    ask = images.ref.ask
    assert await ask(GetDefault()) == DefaultImage("debian", "setting", False)
    with pytest.raises(NotFound, match="no image 'debian'"):
        await ask(FindImage(None))
    with pytest.raises(NotFound, match="no image 'nope'"):
        await ask(SetDefault("nope"))
    await images.build()
    await images.build("other")
    assert (await ask(FindImage(None))).name == "debian"
    assert await ask(SetDefault("other")) == DefaultImage("other", "command", True)
    assert (await ask(FindImage(None))).name == "other"
    marked = [(view.name, view.default) for view in await ask(ListImages())]
    assert marked == [("debian", False), ("other", True)]
    await ask(RenameImage("other", "third"))
    assert await ask(GetDefault()) == DefaultImage("third", "command", True)
    assert await ask(SetDefault(None)) == DefaultImage("debian", "setting", True)
    await ask(SetDefault("third"))
    await ask(DeleteImage("third"))
    assert await ask(GetDefault()) == DefaultImage("debian", "setting", True)


# --- rename, delete, prune ---


async def test_rename(images: Installation) -> None:
    old = await images.build("one")
    images.vms.append(vm_of(old.id))
    new = await images.build("one")
    await images.build("taken")
    with pytest.raises(NotFound):
        await images.ref.ask(RenameImage("nope", "two"))
    with pytest.raises(Conflict, match="'taken' exists already"):
        await images.ref.ask(RenameImage("one", "taken"))
    view = await images.ref.ask(RenameImage("one", "two"))
    assert (view.name, view.id) == ("two", new.id)
    assert [view.name for view in await images.ref.ask(ListImages())] == ["taken", "two"]
    assert usable_files(images.store.root, old.id).root.parent.name == old.id
    with pytest.raises(Conflict, match="used by 1 VMs: web-1"):
        await images.ref.ask(DeleteImage("two"))


async def test_delete(images: Installation) -> None:
    old = await images.build()
    images.vms += [vm_of(old.id, "b"), vm_of(old.id, "a")]
    await images.build()
    before = images.left()
    with pytest.raises(Conflict, match="used by 2 VMs: a, b") as caught:
        await images.ref.ask(DeleteImage("debian"))
    assert "banger vm delete a b" in caught.value.hint
    assert images.left() == before
    images.vms.clear()
    await images.ref.ask(DeleteImage("debian"))
    assert images.left() == set()
    with pytest.raises(NotFound):
        await images.ref.ask(DeleteImage("debian"))


async def test_delete_notices_a_vm_that_comes_meanwhile(
    images: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = await images.build()
    rename = Path.rename

    def vm_is_made(self: Path, target: Path) -> Path:
        if not images.vms:
            images.vms.append(vm_of(view.id))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", vm_is_made)
    with pytest.raises(Conflict, match="used by 1 VMs"):
        await images.ref.ask(DeleteImage("debian"))
    usable_files(images.store.root, view.id)


async def test_prune(images: Installation) -> None:
    old = await images.build()
    images.vms.append(vm_of(old.id))
    new = await images.build()
    assert (await images.ref.ask(PruneImages(dry_run=False))).removed == []
    images.vms.clear()
    told = await images.ref.ask(PruneImages(dry_run=True))
    assert [image.id for image in told.removed] == [old.id]
    assert told.bytes == told.removed[0].bytes > 0
    assert images.left() == {old.id, new.id}
    done = await images.ref.ask(PruneImages(dry_run=False))
    assert (done.removed, done.bytes) == (told.removed, told.bytes)
    assert images.left() == {new.id}


# --- builds under way ---


async def test_a_build_is_seen_and_cancelled(images: Installation) -> None:
    images.recipe(f"{SLOW}; exec sleep 1000")
    async with trio.open_nursery() as nursery:

        async def build() -> None:
            with pytest.raises(BangerError, match="the build of image 'one' was cancelled"):
                await images.build("one")

        nursery.start_soon(build)
        (pid,) = await started_pids(images.root, 1)
        (view,) = await images.ref.ask(ListImages())
        assert (view.name, view.state, view.id) == ("one", ImageState.BUILDING, "")
        assert view.building is not None
        assert (view.building.step, view.building.recipe) == ("waiting", "debian")
        assert view.building.elapsed_s >= 0
        assert await images.ref.ask(DescribeImage("one")) != view  # time goes on
        with pytest.raises(Conflict, match="'one' is being built since"):
            await images.ref.ask(RenameImage("one", "two"))
        with pytest.raises(Conflict, match="'one' is being built since"):
            await images.ref.ask(DeleteImage("one"))
        log = await images.ref.ask(ReadBuildLog("one", failed=False))
        assert b"noise\n" in log
        await images.ref.ask(CancelBuild("one"))
        assert images.left() == set()
        assert not alive(pid)
    log = await images.ref.ask(ReadBuildLog("one", failed=True))
    assert b"noise\n" in log and log.endswith(b": cancelled\n")
    with pytest.raises(NotFound, match="no build of image 'one'"):
        await images.ref.ask(CancelBuild("one"))


async def test_logs(images: Installation) -> None:
    ask = images.ref.ask
    with pytest.raises(NotFound, match="there was no build"):
        await ask(ReadBuildLog("debian", failed=False))
    images.recipe("echo 'step: one'; echo trouble >&2; exit 3")
    error = await images.error()
    assert error.message.endswith("exit 3: trouble")
    assert "banger image log debian" in error.hint
    failed = await ask(ReadBuildLog("debian", failed=False))
    assert b"trouble\n" in failed and b"step: one\n" in failed
    images.recipe(f"echo fine >&2; {GOOD}")
    with pytest.raises(NotFound, match="no build has failed"):
        await ask(ReadBuildLog("other", failed=True))
    await images.build()
    assert b"fine\n" in await ask(ReadBuildLog("debian", failed=False))
    assert await ask(ReadBuildLog("debian", failed=True)) == failed


async def test_a_build_of_another_daemon(images: Installation) -> None:
    path = images.store.root / ".lock-debian"
    lock = file_lock.take(path)
    assert lock is not None
    ours = process.identify(os.getpid())
    assert ours is not None
    lock.note(msgspec.json.encode(BuildNote(".building-debian-1", "a while ago", ours)))
    with pytest.raises(Conflict, match="'debian' is being built since a while ago"):
        await images.build()
    lock.release()
    await images.build()


async def test_a_builder_that_a_killed_daemon_left(tmp_path: Path) -> None:
    """The next daemon ends it, with all it has started, and removes its files."""
    root = tmp_path / "images"
    partial = root / ".building-debian-1"
    partial.mkdir(parents=True)
    lock = file_lock.take(root / ".lock-debian")
    assert lock is not None
    script = f"trap '' TERM; sleep 1000 & echo $$ $! >{tmp_path}/new; mv new pids; wait"
    builder = subprocess.Popen(
        ["sh", "-c", script], cwd=tmp_path, start_new_session=True, pass_fds=[lock.fd]
    )
    pids = await started_pids(tmp_path, 2)
    started = process.identify(builder.pid)
    note = BuildNote(partial.name, "then", GONE, started)
    lock.note(msgspec.json.encode(note))
    os.close(lock.fd)
    try:
        async with running(tmp_path) as images:
            images.recipe(GOOD)
            await images.build()
            assert len(images.left()) == 1
            assert not any(alive(pid) for pid in pids)
    finally:
        builder.kill()
        builder.wait()


async def test_a_build_that_another_daemon_runs_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "images"
    partial = root / ".building-debian-1"
    partial.mkdir(parents=True)
    lock = file_lock.take(root / ".lock-debian")
    ours = process.identify(os.getpid())
    assert lock is not None and ours is not None
    lock.note(msgspec.json.encode(BuildNote(partial.name, "then", ours)))
    async with running(tmp_path) as images:
        images.recipe(GOOD)
        with pytest.raises(Conflict, match="since then by another daemon"):
            await images.build()
        assert partial.exists()
    lock.release()


async def test_what_a_crash_set_aside_is_put_back(tmp_path: Path) -> None:
    async with running(tmp_path) as images:
        images.recipe(GOOD)
        view = await images.build()
    Path(view.path).rename(tmp_path / "images" / f".aside-{view.id}")
    async with running(tmp_path) as images:
        assert await images.ref.ask(ListImages()) == [view]


def test_an_image_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(HostNotReady, match="the image debian-1 is gone"):
        usable_files(tmp_path, "debian-1")
    assert image_store(tmp_path).load_all() == ({}, {})


def test_the_time_of_a_key_is_bounded(tmp_path: Path) -> None:
    """A recipe in a directory with a lot else in it has none, and is always built."""
    from banger.actors.image_key import build_key

    (tmp_path / "recipe").mkdir()
    builder = tmp_path / "recipe/build"
    builder.touch()
    with (tmp_path / "recipe/huge").open("wb") as file:
        file.truncate(1 << 40)
    begun = time.monotonic()
    assert build_key(builder, "debian", {}) == ""
    assert time.monotonic() - begun < 5
