"""Importing by the image actor: what becomes of an image, before, after and instead."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trio

from banger.actors.image_import import ImportImage
from banger.actors.images import (
    BuildImage,
    CancelBuild,
    DeleteImage,
    DescribeImage,
    FindImage,
    ReadBuildLog,
)
from banger.host.tree_import import ImportOrder
from banger.kernel.errors import BangerError, Conflict, HostNotReady, NotFound, UsageError
from banger.model.image import BuildOutcome, ImageInit, ImageRecord, ImportFormat
from banger.model.sizes import GIB
from tests.oci_layout import Layout, archive, directory, entry
from tests.unit.image_actor import GOOD, Installation, make_root, running

TREE = archive(directory("etc"), entry("etc/os-release", b"PRETTY_NAME=Odd"))


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Installation]:
    """With a built default image."""
    async with running(tmp_path) as started:
        started.recipe(GOOD)
        await started.build()
        yield started


def order(path: Path, format: ImportFormat = ImportFormat.TAR) -> ImportOrder:
    return ImportOrder(format, str(path), GIB)


async def imported(images: Installation, path: Path, name: str = "odd") -> BuildOutcome:
    format = ImportFormat.OCI if path.is_dir() else ImportFormat.TAR
    return await images.ref.ask(ImportImage(name, order(path, format)))


async def refused(images: Installation, path: Path, name: str = "odd") -> BangerError:
    before = images.left()
    with pytest.raises(BangerError) as caught:
        await imported(images, path, name)
    assert images.left() - {f".lock-{name}"} == before - {f".lock-{name}"}
    return caught.value


@pytest.fixture
def tarball(tmp_path: Path) -> Path:
    path = tmp_path / "odd.tar"
    path.write_bytes(TREE)
    return path


async def test_a_tarball_becomes_an_image(images: Installation, tarball: Path) -> None:
    outcome = await imported(images, tarball)
    view = outcome.image
    assert outcome.built and view.managed and view.work_seed and view.imported is not None
    assert (view.distribution, view.kernel_version, view.recipe) == ("Odd", "6.1.0", "")
    assert (view.imported.path, view.source) == (str(tarball), str(tarball))
    assert view.init is ImageInit.AGENT and view.process is None
    found = Path(view.path)
    assert {path.name for path in found.iterdir()} >= {"vmlinux", "modules.cpio", "root.ext4"}
    assert (found / "vmlinux").read_text() == "kernel\n"
    assert not (found / "tree").exists()
    again = await imported(images, tarball)
    assert not again.built and again.image.id == view.id
    tarball.write_bytes(archive(directory("etc")))
    assert (await imported(images, tarball)).built
    assert (await images.ref.ask(DescribeImage("odd"))).distribution == "unknown"
    tarball.unlink()
    assert not (await images.ref.ask(DescribeImage("odd"))).problem
    await images.ref.ask(DeleteImage("odd"))


async def test_a_layout_becomes_an_image(images: Installation, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout", [TREE], Cmd=["/bin/app"], Env=["A=1"])
    view = (await imported(images, layout.path)).image
    assert view.process is not None and view.imported is not None
    assert (view.process.argv, view.process.environment) == (["/bin/app"], {"A": "1"})
    assert view.imported.digest == layout.config["digest"]
    assert not (await imported(images, layout.path)).built


async def test_refused_with_the_error_of_the_program(images: Installation, tarball: Path) -> None:
    tarball.write_bytes(archive(entry("../x")))
    error = await refused(images, tarball)
    assert isinstance(error, UsageError) and "leads out of the root" in error.message
    said = await images.ref.ask(ReadBuildLog("odd", failed=True))
    assert b"leads out of the root" in said


async def test_names_that_are_taken(images: Installation, tarball: Path, tmp_path: Path) -> None:
    assert isinstance(await refused(images, tarball, "debian"), Conflict)
    await images.register(make_root(tmp_path / "root.ext4"), "mine")
    assert isinstance(await refused(images, tarball, "mine"), Conflict)
    await imported(images, tarball)
    with pytest.raises(Conflict):
        await images.ref.ask(BuildImage("odd", "debian"))
    with pytest.raises(Conflict):
        await images.register(tmp_path / "root.ext4", "odd")


async def test_paths_that_are_not_taken(
    images: Installation, tarball: Path, tmp_path: Path
) -> None:
    away, fifo = tmp_path / "link", tmp_path / "fifo"
    away.symlink_to(tarball)
    os.mkfifo(fifo)
    own = images.store.root / images.store.load_all()[0].popitem()[0] / "root.ext4"
    cases: list[tuple[Path, type[BangerError], str]] = [
        (away, UsageError, "not a file"),
        (fifo, UsageError, "not a file"),
        (own, UsageError, "banger's own"),
        (tmp_path / "none", NotFound, "No such file"),
        (tmp_path / "a/../odd.tar", UsageError, "without '..'"),
        (Path("odd.tar"), UsageError, "absolute"),
    ]
    for path, kind, said in cases:
        error = await refused(images, path)
        assert isinstance(error, kind) and said in error.message, path
    with pytest.raises(UsageError, match="not a file"):
        await images.ref.ask(ImportImage("odd", order(tmp_path)))


async def test_without_a_kernel(tmp_path: Path, tarball: Path) -> None:
    (tmp_path / "empty").mkdir()
    async with running(tmp_path / "empty") as images:
        error = await refused(images, tarball)
        assert isinstance(error, HostNotReady) and "no kernel" in error.message


async def test_cancelled(
    images: Installation, tarball: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program waits for one to write to the FIFO, which is no tool to be found."""
    waits = images.root / "bin"
    waits.mkdir()
    os.mkfifo(waits / "began")
    (waits / "mkfs.ext4").write_text(f"#!/bin/sh\necho x >{waits}/began\nexec sleep 1000\n")
    (waits / "mkfs.ext4").chmod(0o755)
    monkeypatch.setenv("PATH", f"{waits}:{os.environ['PATH']}")
    before = images.left()
    failures: list[BangerError] = []

    async def run() -> None:
        try:
            await imported(images, tarball)
        except BangerError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.to_thread.run_sync((waits / "began").read_text)
        assert any(name.startswith(".building-") for name in images.left())
        await images.ref.ask(CancelBuild("odd"))
    assert "was cancelled" in failures[0].message
    assert images.left() - before <= {".lock-odd"}


async def test_records_of_the_second_version(images: Installation) -> None:
    record: ImageRecord = await images.ref.ask(FindImage("debian"))
    old = {**msgspec.to_builtins(record)}
    for field in ("imported", "init", "process"):
        del old[field]
    path = images.store.directory(record.id) / "record.json"
    path.write_bytes(msgspec.json.encode({"version": 2, "record": old}))
    found = await images.ref.ask(FindImage("debian"))
    assert found == record and found.init is ImageInit.IMAGE
