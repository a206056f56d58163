"""Recipes and profiles as files: what is taken, and what is refused before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.host import recipe
from banger.host.recipe_plan import write_plan
from banger.kernel.errors import NotFound, UsageError

GOOD = """
base = "debian"
size = "6G"
packages = ["jq", "bash"]
optional_packages = ["rare"]
tree = "laid"
hook = "hook"

[services]
on = ["a.service"]
off = ["b.timer"]
masked = ["c.service"]

[[files]]
path = "/etc/motd"
content = "hello"
mode = "0600"

[[files]]
path = "/usr/local/bin/tool"
source = "tool"
mode = "755"

[[commands]]
name = "first"
run = "echo 1"
optional = true

[[npm]]
package = "@some/tool@1.2.3"
files = { "bin/x" = "/usr/local/bin/x" }
"""


def write(directory: Path, text: str, name: str = "mine/recipe.toml") -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    (path.parent / "laid/etc").mkdir(parents=True, exist_ok=True)
    (path.parent / "laid/etc/x").write_text("x")
    (path.parent / "tool").write_text("#!/bin/sh\n")
    (path.parent / "hook").write_text("echo hook\n")
    return path


def test_our_own_are_good() -> None:
    (debian,) = recipe.layers(recipe.RECIPES / "debian/recipe.toml")
    assert "systemd-sysv" in debian.recipe.packages
    profiles = sorted((recipe.RECIPES / "profiles").glob("*.toml"))
    assert [recipe.load(path, profile=True).name for path in profiles] == ["dev"]


def test_lists_name_nothing_twice() -> None:
    one = recipe.load(recipe.RECIPES / "debian/recipe.toml").recipe
    for names in (one.packages, one.drivers, one.services.masked, one.masked_generators):
        assert names
        assert len(names) == len(set(names))


def test_it_stands_on_its_base(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    debian, mine = recipe.layers(path)
    assert (debian.name, mine.name, mine.size_bytes) == ("debian", "mine", 6 << 30)
    assert set(mine.inputs()) == {path, *(path.parent / name for name in ("laid", "hook", "tool"))}


def test_the_plan(tmp_path: Path) -> None:
    path, script = write(tmp_path, GOOD), tmp_path / "run.sh"
    script.write_text("echo mine\n")
    plan = tmp_path / "plan"
    write_plan(plan, recipe.layers(path), packages=["zstd", "jq"], scripts=[script])
    packages = (plan / "packages").read_text().split()
    assert packages[0] == "bash"
    assert packages[-2:] == ["jq", "zstd"]
    assert packages.count("bash") == 1
    assert (plan / "suite").read_text() == "bookworm\n"
    assert (plan / "size").read_text() == f"{6 << 30}\n"
    assert "virtio_blk" in (plan / "drivers").read_text().split()
    layer = plan / "layers/01"
    assert (layer / "tree/etc/x").read_text() == "x"
    assert (layer / "tree/etc/motd").stat().st_mode & 0o777 == 0o600
    assert (layer / "tree/usr/local/bin/tool").stat().st_mode & 0o777 == 0o755
    assert (layer / "on").read_text() == "a.service\n"
    assert (layer / "npm").read_text() == "@some/tool@1.2.3\tbin/x\t/usr/local/bin/x\tno\n"
    names = [(layer / f"steps/{number:02}.name").read_text() for number in range(3)]
    assert names == ["package rare\n", "hook\n", "first\n"]
    optional = [(layer / f"steps/{number:02}.optional").exists() for number in range(3)]
    assert optional == [True, False, True]
    for step, text in ((layer / "steps/01", "echo hook"), (plan / "layers/02/steps/00", "mine")):
        assert step.read_text().startswith("#!/bin/bash\nset -euo pipefail\n")
        assert text in step.read_text()
        assert step.stat().st_mode & 0o100


def test_the_size_of_a_base_is_the_least(tmp_path: Path) -> None:
    layer = recipe.load(write(tmp_path, 'base = "debian"\nsize = "2G"'))
    write_plan(tmp_path / "plan", [layer], least_bytes=4 << 30)
    assert (tmp_path / "plan/size").read_text() == f"{4 << 30}\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('bas = "debian"', "unknown field `bas`"),
        ("base = 7", "got `int` - at `base`"),
        ("base = ", "no TOML"),
        ('packages = ["jq"]', "the key `base` is missing"),
        ('base = "debian"\npackages = "jq"', "at `packages`"),
        ('base = "debian"\npackages = ["jq; rm"]', r"at `packages\[0\]`"),
        ('base = "debian"\nsize = "big"', "'big' is not a size - at `size`"),
        ('base = "debian"\nsize = "1M"', "not within 1G and 16T"),
        ('base = "debian"\ntree = "../x"', "no plain path - at `tree`"),
        ('base = "debian"\ntree = "/etc"', "at `tree`"),
        ('base = "debian"\nhook = "gone"', "there is no file .*gone - at `hook`"),
        ('base = "debian"\nhook = "out"', "leads out of .* - at `hook`"),
        ('base = "debian"\n[[files]]\npath = "/a/../b"\ncontent = ""', r"at `files\[0\].path`"),
        ('base = "debian"\n[[files]]\npath = "etc/b"\ncontent = ""', r"at `files\[0\].path`"),
        ('base = "debian"\n[[files]]\npath = "/b"', "either source or content"),
        ('base = "debian"\n[[files]]\npath = "/b"\ncontent=""\nmode="9"', "mode`"),
        ('base = "debian"\n[[commands]]\nrun = "x"\nwhen = 1', "unknown field `when`"),
        ('base = "debian"\n[services]\non = ["a b"]', r"at `services.on\[0\]`"),
        ('base = "debian"\n[[npm]]\npackage = "x"\nfiles = { "../y" = "/z" }', "plain path"),
        ('base = "plan9"', "there is no recipe 'plan9' - at `base`"),
        ('base = "debian-packages"\nsuite = "trixie"', "are needed"),
    ],
)
def test_refused_with_the_key(tmp_path: Path, text: str, complaint: str) -> None:
    path = write(tmp_path, text)
    (tmp_path / "outside").touch()
    (path.parent / "out").symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match=complaint) as caught:
        recipe.layers(path)
    assert str(path) in caught.value.message


def test_what_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no recipe"):
        recipe.load(tmp_path / "gone.toml")
    with pytest.raises(UsageError, match="can't be read"):
        recipe.load(tmp_path)
    (tmp_path / "huge.toml").write_text("#" * (recipe.FILE_BYTES_MAX + 1))
    with pytest.raises(UsageError, match="more than 256 KiB"):
        recipe.load(tmp_path / "huge.toml")


def test_recipes_do_not_stand_on_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "RECIPES", tmp_path)
    write(tmp_path, 'base = "a"', "a/recipe.toml")
    with pytest.raises(UsageError, match="stand on each other"):
        recipe.layers(tmp_path / "a/recipe.toml")


def test_a_profile_has_no_base(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a profile has no `base`"):
        recipe.load(write(tmp_path, 'base = "debian"'), profile=True)
    with pytest.raises(NotFound, match="no profile 'nope'") as caught:
        recipe.profile_path("nope")
    assert "dev" in caught.value.hint
