"""The Debian recipe's own parts: no network, no privileges."""

from __future__ import annotations

import gzip
import struct
import subprocess
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "rootfs" / "debian"
SCRIPTS = [
    "build",
    "customize",
    "extract-vmlinux",
    "tree/etc/systemd/system-generators/systemd-fstab-generator",
]


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)


def bzimage(payload: bytes, unpacked_size: int) -> bytes:
    """A boot sector, one setup sector and `payload`, as Linux' boot.rst lays them out."""
    image = bytearray(1024)
    image[0x1F1] = 1
    packed = payload + struct.pack("<I", unpacked_size)
    image[0x248:0x250] = struct.pack("<II", 0, len(packed))
    return bytes(image) + packed + b"trailer"


def test_extracts_the_elf_kernel(tmp_path: Path) -> None:
    kernel = b"\x7fELF" + b"kernel" * 1000
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(gzip.compress(kernel), len(kernel)))
    result = run(RECIPE / "extract-vmlinux", image, tmp_path / "vmlinux")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "vmlinux").read_bytes() == kernel


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"not compressed", "unknown compression"),
        (gzip.compress(b"text", mtime=0), "holds no ELF kernel"),
    ],
)
def test_refuses_what_is_no_kernel(tmp_path: Path, payload: bytes, complaint: str) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(payload, 4))
    result = run(RECIPE / "extract-vmlinux", image, tmp_path / "vmlinux")
    assert result.returncode == 1
    assert complaint in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["out", "--what"], 2),
        (["out", "more"], 2),
        (["out", "--package"], 2),
        (["out", "--size", "5"], 1),
        (["out", "--suite", "A b"], 1),
    ],
)
def test_build_refuses_bad_arguments(arguments: list[str], code: int) -> None:
    result = run(RECIPE / "build", *arguments)
    assert result.returncode == code
    assert result.stderr


@pytest.mark.parametrize("option", ["--package", "--size"])
def test_the_bundle_takes_no_options(tmp_path: Path, option: str) -> None:
    result = run(RECIPE.parent / "bundle/build", tmp_path, option, "x")
    assert result.returncode == 2
    assert "usage" in result.stderr


def test_a_bad_recipe_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('base = "debian"\npackags = []\n')
    arguments = (tmp_path / "out", "--recipe-file", tmp_path / "recipe.toml")
    result = run(RECIPE.parent / "make-image", *arguments)
    assert result.returncode == 1
    assert "unknown field `packags`" in result.stderr
    assert 'failed at step "read the recipe"' in result.stderr
    assert not list((tmp_path / "out").iterdir())
