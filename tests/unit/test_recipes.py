"""Recipes of images, found by entry points."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from banger.capabilities import recipes
from banger.kernel.errors import HostNotReady, NotFound


def install(site: Path, monkeypatch: pytest.MonkeyPatch, distribution: str, source: str) -> None:
    module = distribution.replace("-", "_")
    (site / f"{module}.py").write_text(source)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[banger.images]\nodd = {module}:recipe\n")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])


def test_the_debian_recipe() -> None:
    assert recipes.find_builder("debian").parts[-3:] == ("rootfs", "debian", "build")


def test_an_unknown_one_names_the_known_ones() -> None:
    with pytest.raises(NotFound, match="no recipe 'plan9'") as caught:
        recipes.find_builder("plan9")
    assert "debian" in caught.value.hint


def test_a_plugins_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "build"
    program.touch()
    install(tmp_path, monkeypatch, "odd-a", f"def recipe(): return {str(program)!r}")
    assert recipes.find_builder("odd") == program
    program.unlink()
    with pytest.raises(HostNotReady, match="build is missing"):
        recipes.find_builder("odd")


@pytest.mark.parametrize(
    ("source", "reason"), [("1 / 0", "ZeroDivisionError"), ("import sys; sys.exit()", "sys.exit")]
)
def test_a_broken_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str
) -> None:
    install(tmp_path, monkeypatch, f"odd-{reason.lower().replace('.', '-')}", source)
    with pytest.raises(HostNotReady, match=reason):
        recipes.find_builder("odd")


def test_a_taken_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "odd-b", "")
    install(tmp_path, monkeypatch, "odd-c", "")
    with pytest.raises(HostNotReady, match="2 recipes are called 'odd'"):
        recipes.find_builder("odd")
