"""Runtime bundles: collected, packed, unpacked; and archives that mean harm."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banger.bundle import main
from banger.host import bundle_archive
from banger.host.bundle import ABOUT, Bundle, collect, copy_sparse, read_about, take_image
from banger.host.bundle_archive import install, pack, unpack
from banger.host.image_files import image_store
from banger.kernel.errors import HostNotReady, NotFound, UsageError
from banger.model.image import ImageRecord

MIB = 1 << 20
FILES = {
    "root.ext4": b"root" + bytes(3 * MIB) + b"end",
    "vmlinux": b"kernel",
    "modules.cpio": b"modules",
    "work-seed.ext4": bytes(MIB),
    "banger-agent": b"agent",
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    store = image_store(tmp_path / "images")
    for number, name in enumerate(("debian-1", "debian-2")):
        record = ImageRecord(
            id=name,
            name="debian",
            recipe="debian",
            built_at=float(number),
            root_bytes=len(FILES["root.ext4"]),
            kernel_version="6.1.0",
            distribution="Debian 12",
        )
        store.save(name, record)
        for file, data in FILES.items():
            (store.directory(name) / file).write_bytes(data)
    (store.directory("debian-1") / "vmlinux").write_bytes(b"older")
    return store.root


def collected(images: Path, directory: Path) -> Bundle:
    return collect(images, "debian", images / "debian-2" / "banger-agent", directory, "1.2")


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != ABOUT}


def test_collect(images: Path, tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    (runtime / "old").touch()
    (runtime / "void-exp").mkdir()
    (runtime / "void-exp/root.ext4").touch()
    made = collected(images, runtime)
    assert made == read_about(runtime)
    # What others keep there is theirs.
    assert (runtime / "void-exp/root.ext4").exists()
    shutil.rmtree(runtime / "void-exp")
    assert content(runtime) == FILES
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    assert {file.path: file.sha256 for file in made.files} == sums
    assert (made.kernel, made.distribution, made.banger) == ("6.1.0", "Debian 12", "1.2")
    assert (runtime / "root.ext4").stat().st_blocks * 512 < MIB
    assert (runtime / "banger-agent").stat().st_mode & 0o111
    assert {path.name for path in tmp_path.iterdir()} == {"images", "runtime"}


def test_collect_of_an_image_without_a_work_seed(images: Path, tmp_path: Path) -> None:
    (images / "debian-2" / "work-seed.ext4").unlink()
    made = collected(images, tmp_path / "runtime")
    assert "work-seed.ext4" not in {file.path for file in made.files}


def test_a_failing_collect_changes_nothing(images: Path, tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    (runtime / "old").touch()
    with pytest.raises(OSError, match="nowhere"):
        collect(images, "debian", tmp_path / "nowhere", runtime, "1")
    with pytest.raises(NotFound, match="no image 'void'"):
        collect(images, "void", tmp_path / "nowhere", runtime, "1")
    (images / "debian-2" / "vmlinux").unlink()
    with pytest.raises(HostNotReady, match="missing"):
        collected(images, runtime)
    assert [path.name for path in runtime.iterdir()] == ["old"]
    assert {path.name for path in tmp_path.iterdir()} == {"images", "runtime"}


@pytest.mark.parametrize("data", [b"", b"x", bytes(5 * MIB), bytes(MIB) + b"x" * 5000 + bytes(9)])
def test_copy_sparse(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    digest = copy_sparse(tmp_path / "a", tmp_path / "b")
    assert digest == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "b").read_bytes() == data
    assert (tmp_path / "b").stat().st_blocks * 512 <= 16384


def test_image_of_a_bundle(images: Path, tmp_path: Path) -> None:
    runtime, target = tmp_path / "runtime", tmp_path / "target"
    collected(images, runtime)
    target.mkdir()
    take_image(runtime, target)
    found = content(target)
    assert json.loads(found.pop("build.json")) == {"kernel": "6.1.0", "distribution": "Debian 12"}
    assert found == {name: data for name, data in FILES.items() if name != "banger-agent"}
    (runtime / "vmlinux").write_bytes(b"other!")
    with pytest.raises(UsageError, match=r"vmlinux of .* has the SHA-256 sum"):
        take_image(runtime, _made(tmp_path / "again"))


def _made(path: Path) -> Path:
    path.mkdir()
    return path


# --- archives ---


def manifest(file: Path, archive: Path, **more: str) -> Path:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    values = {"path": archive.name, "sha256": digest, **more}
    file.write_text("".join(f'{key} = "{value}"\n' for key, value in values.items() if value))
    return file


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_there_and_back(images: Path, tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    made = collected(images, tmp_path / "runtime")
    archive = tmp_path / "bundle.tar"
    assert pack(tmp_path / "runtime", made, archive) == (
        hashlib.sha256(archive.read_bytes()).hexdigest()
    )
    assert archive.stat().st_size < MIB
    archive.write_bytes(compress(archive.read_bytes()))
    other = tmp_path / "other"
    assert install(manifest(tmp_path / "m.toml", archive), other) == made
    assert content(other) == FILES
    assert (other / "root.ext4").stat().st_blocks * 512 < MIB
    assert (other / "banger-agent").stat().st_mode & 0o777 == 0o755


def test_an_archive_of_gnu_tar(images: Path, tmp_path: Path) -> None:
    collected(images, tmp_path / "runtime")
    archive = tmp_path / "bundle.tar"
    subprocess.run(["tar", "-C", tmp_path / "runtime", "-Scf", archive, "."], check=True)
    install(manifest(tmp_path / "m.toml", archive), tmp_path / "other")
    assert content(tmp_path / "other") == FILES


def test_another_sum_is_refused_before_anything_is_unpacked(images: Path, tmp_path: Path) -> None:
    made = collected(images, tmp_path / "runtime")
    archive = tmp_path / "bundle.tar"
    pack(tmp_path / "runtime", made, archive)
    wrong = manifest(tmp_path / "m.toml", archive, sha256="0" * 64)
    with pytest.raises(UsageError, match=f"not {'0' * 64}"):
        install(wrong, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"path": ""}, "either url or path"),
        ({"url": "https://example.org/x"}, "either url or path"),
        ({"path": "", "url": "file:///etc/passwd"}, "no http or https URL"),
        ({"sha256": "abc"}, "can't be read"),
        ({"more": "x"}, "can't be read"),
    ],
)
def test_manifests_that_make_no_sense(tmp_path: Path, change: dict[str, str], problem: str) -> None:
    (tmp_path / "a.tar").touch()
    with pytest.raises(UsageError, match=problem):
        install(manifest(tmp_path / "m.toml", tmp_path / "a.tar", **change), tmp_path / "r")
    with pytest.raises(UsageError, match="can't be read"):
        install(tmp_path / "missing.toml", tmp_path / "r")


def test_an_archive_that_can_not_be_had(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    made = manifest(tmp_path / "m.toml", tmp_path / "a.tar")
    (tmp_path / "a.tar").unlink()
    with pytest.raises(HostNotReady, match=r"a\.tar can't be read"):
        install(made, tmp_path / "r")
    url = "http://127.0.0.1:9/x.tar"
    (tmp_path / "u.toml").write_text(f'url = "{url}"\nsha256 = "{"0" * 64}"\n')
    with pytest.raises(HostNotReady, match="can't be fetched"):
        install(tmp_path / "u.toml", tmp_path / "r")


class Archive:
    """One that a test writes member by member."""

    def __init__(self) -> None:
        self.data = io.BytesIO()
        self.tar = tarfile.TarFile(fileobj=self.data, mode="w", format=tarfile.PAX_FORMAT)
        self.about: dict[str, Any] = {
            **{"version": 1, "banger": "1", "made_at": "now", "distribution": "D", "kernel": "6"},
            "files": [
                {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for name, data in FILES.items()
            ],
        }

    def add(self, name: str, data: bytes = b"", **fields: Any) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for key, value in fields.items():
            setattr(info, key, value)
        self.tar.addfile(info, io.BytesIO(data))

    def fill(self, *without: str) -> None:
        self.add(ABOUT, json.dumps(self.about).encode())
        for name, data in FILES.items():
            if name not in without:
                self.add(name, data)

    def unpack(self, directory: Path) -> None:
        self.tar.close()
        directory.mkdir()
        unpack(self.data, directory)


def _link(archive: Archive) -> None:
    archive.fill("vmlinux")
    archive.add("vmlinux", type=tarfile.SYMTYPE, linkname="/etc/passwd")


def _hard_link(archive: Archive) -> None:
    archive.fill("vmlinux")
    archive.add("vmlinux", type=tarfile.LNKTYPE, linkname="root.ext4")


def _device(archive: Archive) -> None:
    archive.fill("vmlinux")
    archive.add("vmlinux", type=tarfile.BLKTYPE, devmajor=8)


def _fifo(archive: Archive) -> None:
    archive.fill("vmlinux")
    archive.add("vmlinux", type=tarfile.FIFOTYPE)


def _directory(archive: Archive) -> None:
    archive.fill()
    archive.add("more", type=tarfile.DIRTYPE)


def _out(archive: Archive) -> None:
    archive.fill()
    archive.add("../evil", b"x")


def _absolute(archive: Archive) -> None:
    archive.fill()
    archive.add("/tmp/evil", b"x")


def _unknown(archive: Archive) -> None:
    archive.fill()
    archive.add("evil", b"x")


def _twice(archive: Archive) -> None:
    archive.fill()
    archive.add("vmlinux", b"kernel")


def _twice_by_another_spelling(archive: Archive) -> None:
    archive.fill()
    archive.add("./vmlinux", b"kernel")


def _missing(archive: Archive) -> None:
    archive.fill("vmlinux")


def _longer(archive: Archive) -> None:
    archive.fill("vmlinux")
    archive.add("vmlinux", b"kernels")


def _other_sum(archive: Archive) -> None:
    archive.fill("vmlinux")
    archive.add("vmlinux", b"colonel"[:6])


def _named_elsewhere(archive: Archive) -> None:
    archive.about["files"][1]["path"] = "../../etc/passwd"
    archive.fill()


def _named_twice(archive: Archive) -> None:
    archive.about["files"].append(archive.about["files"][0])
    archive.fill()


def _no_kernel(archive: Archive) -> None:
    del archive.about["files"][1]
    archive.fill()


def _no_about(archive: Archive) -> None:
    archive.add("vmlinux", b"kernel")


def _many(archive: Archive) -> None:
    archive.fill()
    for number in range(40):
        archive.add(f"f{number}")


def _large_header(archive: Archive) -> None:
    archive.add("x", pax_headers={"comment": "x" * (5 * MIB)})
    archive.fill()


def _large_about(archive: Archive) -> None:
    archive.add(ABOUT, bytes(2 * MIB))


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (_link, "no plain file"),
        (_hard_link, "no plain file"),
        (_device, "no plain file"),
        (_fifo, "no plain file"),
        (_directory, "no plain file"),
        (_out, "not at its top"),
        (_absolute, "not at its top"),
        (_unknown, "does not name"),
        (_twice, "twice"),
        (_twice_by_another_spelling, "twice"),
        (_missing, "is missing"),
        (_longer, "of 7 bytes, not 6"),
        (_other_sum, "vmlinux of the archive has the SHA-256 sum"),
        (_named_elsewhere, "is not valid"),
        (_named_twice, "names a file twice"),
        (_no_kernel, "lacks vmlinux"),
        (_no_about, "has no bundle.json"),
        (_many, "more than 32 files"),
        (_large_header, "too large"),
        (_large_about, "larger than"),
    ],
)
def test_hostile_archives(tmp_path: Path, harm: Callable[[Archive], None], problem: str) -> None:
    archive = Archive()
    harm(archive)
    with pytest.raises(UsageError, match=problem):
        archive.unpack(tmp_path / "r")
    assert {path.name for path in tmp_path.iterdir()} == {"r"}
    assert {path.name for path in (tmp_path / "r").iterdir()} <= FILES.keys()
    assert not any(path.is_symlink() for path in (tmp_path / "r").iterdir())


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small as an archive, large on the disk."""
    monkeypatch.setattr(bundle_archive, "DATA_LIMIT_BYTES", MIB)
    bomb = b"x" * (4 * MIB)
    archive = Archive()
    archive.about["files"][1] |= {"size": len(bomb), "sha256": hashlib.sha256(bomb).hexdigest()}
    archive.fill("vmlinux")
    archive.add("vmlinux", bomb)
    archive.tar.close()
    with pytest.raises(UsageError, match="bytes of data"):
        unpack(io.BytesIO(gzip.compress(archive.data.getvalue())), _made(tmp_path / "r"))
    assert (tmp_path / "r" / "vmlinux").stat().st_size < 4 * MIB


@pytest.mark.parametrize(
    "data", [b"", b"no archive", b"\x1f\x8bno", b"\xfd7zXZ\0no", bytes(2048), b"x" * 5000]
)
def test_what_is_no_archive(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        unpack(io.BytesIO(data), tmp_path)


def test_torn_archives(images: Path, tmp_path: Path) -> None:
    made = collected(images, tmp_path / "runtime")
    archive = tmp_path / "a.tar"
    pack(tmp_path / "runtime", made, archive)
    whole = archive.read_bytes()
    for end in range(0, len(whole) - 3000, 1499):
        with pytest.raises(UsageError):
            unpack(io.BytesIO(whole[:end]), _made(tmp_path / f"r{end}"))


def test_program(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = collected(images, tmp_path / "runtime")
    pack(tmp_path / "runtime", made, tmp_path / "a.tar")
    found = str(manifest(tmp_path / "m.toml", tmp_path / "a.tar"))
    assert main(["install", str(tmp_path / "other"), found]) == 0
    assert "Debian 12, kernel 6.1.0, 5 files" in capsys.readouterr().out
    assert main(["image", str(tmp_path / "none"), str(tmp_path)]) == 3
    assert "banger: there is no runtime bundle in" in capsys.readouterr().err
