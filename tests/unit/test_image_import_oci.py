"""OCI layouts and archives of 'docker save': layers, digests, and what is said of the process."""

from __future__ import annotations

import gzip
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from banger.host.archive import Budget
from banger.host.oci import OciImage, read_image
from banger.host.oci_blobs import ArchiveBlobs, Blobs, DirectoryBlobs
from banger.host.tree import Tree
from banger.host.tree_import import ImportOrder, import_image
from banger.host.tree_read import read_tree
from banger.kernel.errors import UsageError
from banger.model.image import ImageInit, ImageProcess, ImportFormat
from banger.model.sizes import MIB
from tests.oci_layout import (
    ARCHITECTURE,
    LAYER,
    Entry,
    Layout,
    archive,
    directory,
    entry,
    hard_link,
    link,
    save,
)

BASE = archive(directory("etc"), entry("etc/a", b"a"), entry("etc/b", b"b"))
REFERENCE = "org.opencontainers.image.ref.name"


def image_of(path: Path, reference: str = "") -> tuple[OciImage, Tree]:
    """What is read, and what its layers come to."""
    budget = Budget(64 * MIB)
    blobs: Blobs = DirectoryBlobs(path) if path.is_dir() else ArchiveBlobs(path, budget)
    with closing(blobs):
        image = read_image(blobs, reference)
        return image, read_tree(image.layers, Budget(64 * MIB), layers=True)


def tree_of(path: Path, *layers: list[Entry]) -> Tree:
    layout = Layout(path / "layout", [archive(*layer) for layer in layers])
    return image_of(layout.path)[1]


def names(tree: Tree) -> set[str]:
    return {path for path, _ in tree.walk()}


def test_whiteouts(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [entry("etc/a"), entry("etc/b"), entry("opt/x/y"), entry("opt/z"), entry("gone/deep/file")],
        [
            entry("opt/new"),
            entry("etc/.wh.a"),
            entry("opt/.wh..wh..opq"),
            entry(".wh.gone"),
            entry("etc/.wh.never"),
            entry(".wh..wh.plnk/9.9"),
        ],
    )
    assert names(tree) >= {"etc", "etc/b", "opt", "opt/new"}
    assert not names(tree) & {"etc/a", "opt/x", "opt/z", "gone", "etc/.wh.a", "opt/.wh..wh..opq"}


def test_a_whiteout_is_of_the_layers_below_only(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, [entry("a/x", b"1")], [entry("a/x", b"22"), entry("a/.wh.x")])
    found = tree.find("a/x")
    assert found is not None and found.size == 2


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh..."])
def test_whiteouts_of_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"layer 2 of 2: .*hides nothing"):
        tree_of(tmp_path, [entry("a/x")], [entry(name)])


def test_whiteouts_through_links_stay_inside(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="out of the root"):
        tree_of(tmp_path, [link("up", "../..")], [entry("up/.wh.etc")])


def test_later_layers_replace(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path,
        [entry("a", b"1"), hard_link("same", "a"), link("l", "/etc"), directory("d"), entry("d/x")],
        [entry("a", b"22"), directory("l", 0o700), entry("l/in"), entry("d", b"file now")],
        [hard_link("again", "same"), directory("l", 0o711)],
    )
    sizes = {path: node.size for path, node in tree.walk()}
    assert (sizes["a"], sizes["same"], sizes["again"], sizes["d"]) == (2, 1, 1, 8)
    assert "d/x" not in sizes and "l/in" in sizes
    changed = tree.find("l")
    assert changed is not None and changed.mode == 0o711


def test_the_process(tmp_path: Path) -> None:
    layout = Layout(
        tmp_path / "layout",
        [BASE],
        Entrypoint=["/bin/app"],
        Cmd=["--fast"],
        Env=["A=1", "B=x=y", "no-equals", "=odd"],
        User="1000:1000",
        WorkingDir="/srv/app",
    )
    image, _ = image_of(layout.path)
    assert image.process == ImageProcess(
        ["/bin/app", "--fast"], {"A": "1", "B": "x=y"}, "1000", "/srv/app"
    )
    assert image.digest == layout.config["digest"]


def test_a_saved_archive(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tar", [BASE, BASE], ["app:1"], Cmd=["sh"])
    for found in (path, tmp_path / "a.tar.gz"):
        if found != path:
            found.write_bytes(gzip.compress(path.read_bytes()))
        image, tree = image_of(found, "app:1")
        assert names(tree) == {"etc", "etc/a", "etc/b"} and image.process.argv == ["sh"]
    with pytest.raises(UsageError, match="no image 'other'"):
        image_of(path, "other")


def test_a_layout_in_an_archive(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout", [BASE])
    path = Path(shutil.make_archive(str(tmp_path / "packed"), "tar", layout.path))
    assert names(image_of(path)[1]) == {"etc", "etc/a", "etc/b"}


def test_several_images(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout", [BASE])
    named = [{**layout.manifest, "annotations": {REFERENCE: name}} for name in ("one", "two")]
    layout.index(named)
    with pytest.raises(UsageError, match="2 images: one, two"):
        image_of(layout.path)
    assert image_of(layout.path, "two")[0].digest == layout.config["digest"]
    other = {**layout.manifest, "platform": {"os": "linux", "architecture": "s390x"}}
    ours = {**layout.manifest, "platform": {"os": "linux", "architecture": ARCHITECTURE}}
    inner = layout.blob({"schemaVersion": 2, "manifests": [other, ours]})
    layout.index([{**inner, "mediaType": "application/vnd.oci.image.index.v1+json"}])
    assert image_of(layout.path)[0].digest == layout.config["digest"]
    layout.index([other])
    with pytest.raises(UsageError, match="no image for this machine"):
        image_of(layout.path)


def damage_config(layout: Layout) -> None:
    path = layout.blob_path(layout.config["digest"])
    path.write_bytes(path.read_bytes().replace(b"linux", b"linuX"))


def damage_layer(layout: Layout) -> None:
    path = layout.blob_path(layout.layers[0]["digest"])
    path.write_bytes(path.read_bytes().replace(b"etc/a", b"etc/c"))


def swap_layer(layout: Layout) -> None:
    """Its digest is right, but the configuration means another one."""
    other = layout.blob(archive(entry("etc/other")))
    layout.index([layout.add_manifest([other])])


def more_layers(layout: Layout) -> None:
    layout.index([layout.add_manifest(layout.layers * 2)])


def lose_layer(layout: Layout) -> None:
    layout.blob_path(layout.layers[0]["digest"]).unlink()


def link_layer(layout: Layout) -> None:
    path = layout.blob_path(layout.layers[0]["digest"])
    path.rename(layout.path / "moved")
    path.symlink_to(layout.path / "moved")


def link_directory(layout: Layout) -> None:
    (layout.path / "blobs").rename(layout.path / "elsewhere")
    (layout.path / "blobs").symlink_to(layout.path / "elsewhere")


def fifo_layer(layout: Layout) -> None:
    path = layout.blob_path(layout.layers[0]["digest"])
    path.unlink()
    os.mkfifo(path)


def odd_digest(layout: Layout) -> None:
    layout.index([{**layout.manifest, "digest": "sha256:../../../../etc/passwd"}])


def foreign_layer(layout: Layout) -> None:
    described = {**layout.layers[0], "mediaType": f"{LAYER}.nondistributable"}
    blob: dict[str, Any] = {"config": layout.config, "layers": [described]}
    layout.index([{**layout.blob(blob), "mediaType": "x"}])


def broken_index(layout: Layout) -> None:
    (layout.path / "index.json").write_text("[")


def nested_index(layout: Layout) -> None:
    (layout.path / "index.json").write_text('{"manifests":' * 100_000)


def huge_index(layout: Layout) -> None:
    with (layout.path / "index.json").open("ab") as file:
        file.truncate(1 << 33)


def lost_index(layout: Layout) -> None:
    (layout.path / "index.json").unlink()


DAMAGES = {
    damage_config: "not what its digest says",
    damage_layer: "layer 1 of 1: its content is not that of its digest",
    swap_layer: "layer 1 of 1: uncompressed it is not",
    more_layers: "2 layers, its configuration names 1",
    lose_layer: "is missing",
    link_layer: "can't be read",
    link_directory: "can't be read",
    fifo_layer: "no regular file",
    odd_digest: "no digest",
    foreign_layer: "of the type",
    broken_index: "index.json is not valid",
    nested_index: "index.json is not valid",
    huge_index: "larger than 4 MiB",
    lost_index: "no index.json",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_layouts(tmp_path: Path, damage: Any) -> None:
    layout = Layout(tmp_path / "layout", [BASE])
    damage(layout)
    with pytest.raises(UsageError, match=DAMAGES[damage]):
        image_of(layout.path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"Env": ["A=\0"]}, "NUL"),
        ({"Cmd": ["x" * (200 << 10)]}, "128 KiB"),
        ({"WorkingDir": "srv"}, "working directory"),
        ({"WorkingDir": "/srv/../.."}, "working directory"),
        ({"Cmd": "not a list"}, "not valid"),
    ],
)
def test_odd_processes(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    layout = Layout(tmp_path / "layout", [BASE], **config)
    with pytest.raises(UsageError, match=said):
        image_of(layout.path)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([entry("readme")], "image import tar"),
        ([entry("manifest.json", b"[]")], "no image"),
        ([entry("manifest.json", b"{}")], "not valid"),
        ([entry("manifest.json", b"[]"), entry("./manifest.json", b"[]")], "twice"),
        ([link("manifest.json", "../../etc/passwd")], "no file of the archive"),
        ([entry("manifest.json", b'[{"Config":"/etc/passwd","Layers":["a"]}]')], "no name"),
        ([entry("manifest.json", b'[{"Config":"a/../b","Layers":["a"]}]')], "no name"),
        ([entry("manifest.json", b'[{"Config":"none.json","Layers":["a"]}]')], "is missing"),
    ],
)
def test_odd_archives(tmp_path: Path, members: list[Entry], said: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(archive(*members))
    with pytest.raises(UsageError) as caught:
        image_of(path)
    assert said in str(caught.value)


def test_a_compressed_archive_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(bytes(8 * MIB)))
    budget = Budget(MIB)
    budget.bytes_left = MIB
    with pytest.raises(UsageError, match="larger"):
        ArchiveBlobs(path, budget)


@pytest.mark.parametrize(
    ("command", "init"),
    [
        ([], ImageInit.IMAGE),
        (["/sbin/init"], ImageInit.IMAGE),
        (["/usr/lib/systemd/systemd"], ImageInit.IMAGE),
        (["/bin/app"], ImageInit.AGENT),
    ],
)
def test_who_is_the_first_process(tmp_path: Path, command: list[str], init: ImageInit) -> None:
    """A container's distribution often has an init that nothing was set up for."""
    layer = archive(
        entry("usr/lib/systemd/systemd", b"x", mode=0o755),
        link("sbin/init", "/usr/lib/systemd/systemd"),
        entry("bin/app", b"x", mode=0o755),
    )
    layout = Layout(tmp_path / "layout", [layer], Cmd=command, WorkingDir="/srv/new")
    out = tmp_path / "out"
    out.mkdir()
    facts = import_image(ImportOrder(ImportFormat.OCI, str(layout.path), 64 * MIB), out)
    assert facts.init is init and facts.process is not None
    assert facts.digest == layout.config["digest"]
