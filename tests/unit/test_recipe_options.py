"""Options of a build: what the program is called with, the key, and refusals."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from banger.actors.images import BuildImage
from banger.commands import image_build
from banger.commands.context import Context
from banger.commands.session import Session
from banger.commands.sink import KeptSink
from banger.kernel.errors import Conflict, IllegalState, NotFound, UsageError
from banger.model.build import SCRIPT_BYTES_MAX, BuildOptions, BuildScript
from banger.model.image import BuildOutcome
from banger.model.vm import VmState
from tests.unit.image_actor import GOOD, Installation, make_root, running, vm_of

TOLD = GOOD + '\nprintf "%s\\n" "$@" >"$1/arguments"; cat "$1"/scripts/*/* >"$1/said" || true\n'


async def build(images: Installation, options: BuildOptions, name: str = "mine") -> BuildOutcome:
    return await images.ref.ask(BuildImage(name, "debian", False, options))


def given(outcome: BuildOutcome) -> list[str]:
    return (Path(outcome.image.path) / "arguments").read_text().split()[1:]


async def test_options_reach_the_program(tmp_path: Path) -> None:
    options = BuildOptions(
        size_bytes=8 << 30,
        packages=["jq", "zstd"],
        scripts=[BuildScript("a.sh", b"one\n"), BuildScript("a.sh", b"two\n")],
        profile="dev",
    )
    async with running(tmp_path) as images:
        images.recipe(TOLD)
        outcome = await build(images, options)
        words = given(outcome)
        assert words[0] == "--profile"
        assert words[2:8] == ["--size", str(8 << 30), "--package", "jq", "--package", "zstd"]
        assert words[8::2] == ["--script", "--script"]
        assert (Path(outcome.image.path) / "said").read_text() == "one\ntwo\n"
        assert not (Path(outcome.image.path) / "scripts").exists()


async def test_a_tarball_is_one_of_the_inputs(tmp_path: Path) -> None:
    tarball = tmp_path / "root.tar"
    options = BuildOptions(rootfs_tarball=str(tarball))
    async with running(tmp_path) as images:
        images.recipe(TOLD)
        with pytest.raises(NotFound, match=f"no file {tarball}"):
            await build(images, options)
        tarball.write_bytes(b"one")
        assert given(await build(images, options)) == ["--rootfs-tarball", str(tarball)]
        assert not (await build(images, options)).built
        tarball.write_bytes(b"two")
        assert (await build(images, options)).built


async def test_without_options_it_is_called_as_ever(tmp_path: Path) -> None:
    async with running(tmp_path) as images:
        images.recipe(TOLD)
        assert given(await build(images, BuildOptions())) == []


@pytest.mark.parametrize(
    "other",
    [
        BuildOptions(size_bytes=2 << 30),
        BuildOptions(packages=["jq"]),
        BuildOptions(profile="dev"),
        BuildOptions(scripts=[BuildScript("a", b"1")]),
        BuildOptions(scripts=[BuildScript("a", b"2")]),
    ],
)
async def test_options_are_in_the_key(tmp_path: Path, other: BuildOptions) -> None:
    before = BuildOptions(scripts=[BuildScript("a", b"0")])
    async with running(tmp_path) as images:
        images.recipe(GOOD)
        assert (await build(images, before)).built
        assert not (await build(images, before)).built
        assert (await build(images, other)).built


async def test_a_recipe_that_knows_no_options(tmp_path: Path) -> None:
    async with running(tmp_path) as images:
        images.recipe('[ $# = 1 ] || { echo "usage: build OUTDIR" >&2; exit 2; }')
        with pytest.raises(UsageError, match="'debian' does not take --package: usage: build"):
            await build(images, BuildOptions(packages=["jq"]))
        assert images.partial() == set()


async def test_the_file_of_a_recipe_is_checked_first(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('base = "debian"\nodd = 1\n')
    async with running(tmp_path) as images:
        images.recipe("echo built >built")
        with pytest.raises(UsageError, match=f"{path}.*`odd`"):
            await build(images, BuildOptions(recipe_file=str(path)))
        with pytest.raises(NotFound, match="no profile 'nope'"):
            await build(images, BuildOptions(profile="nope"))
        assert images.partial() == set()


async def test_a_base_that_is_a_recipe(tmp_path: Path) -> None:
    async with running(tmp_path) as images:
        images.recipe(GOOD, "other")
        outcome = await build(images, BuildOptions(base="other"))
        assert outcome.image.recipe == "other"


async def test_a_base_that_was_not_built(tmp_path: Path) -> None:
    async with running(tmp_path) as images:
        images.recipe(GOOD)
        await images.build()
        await images.register(make_root(tmp_path / "foreign.ext4"), "foreign")
        with pytest.raises(Conflict, match="'foreign' was registered, not built"):
            await build(images, BuildOptions(base="foreign"))


async def test_a_base_is_not_made_smaller(tmp_path: Path) -> None:
    async with running(tmp_path) as images:
        images.recipe(GOOD + 'truncate -s 2G "$1/root.ext4"')
        await images.build()
        with pytest.raises(UsageError, match="less than the 2147483648 bytes of 'debian'"):
            await build(images, BuildOptions(base="debian", size_bytes=1 << 30))


def run_command(**parameters: object) -> None:
    every = dict.fromkeys(["recipe", "base", "size", "profile", "rootfs_tarball"])
    defaults = {**every, "packages": (), "scripts": (), "if_missing": False, "force": False}
    with Context(Session(), KeptSink(), json=False) as context:
        image_build.run(context, **{"name": "x", **defaults, **parameters})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"recipe": "a/recipe.toml"}, "neither a recipe's name nor an absolute path"),
        ({"recipe": "debian", "base": "other"}, "exclude each other"),
        ({"size": "1M"}, "not within 1G and 16T"),
        ({"packages": ("A b",)}, "no name of a Debian package"),
        ({"scripts": ("/gone",)}, "can't be read"),
        ({"scripts": ("/etc/a b",)}, "a script's name"),
        ({"profile": "../x"}, "not a legal profile name"),
    ],
)
def test_refused_before_the_daemon_is_asked(parameters: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        run_command(**parameters)


def test_scripts_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"#" * SCRIPT_BYTES_MAX)
    (tmp_path / "more").write_bytes(b"#")
    with pytest.raises(UsageError, match="together have more than 960 KiB"):
        run_command(scripts=(str(tmp_path / "big"), str(tmp_path / "more")))


def test_the_wire_refuses_hostile_names() -> None:
    for field in ({"packages": ["-o"]}, {"scripts": [{"name": "../x", "content": b""}]}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(field, BuildOptions)


async def test_only_a_stopped_vm_becomes_an_image(tmp_path: Path) -> None:
    async with running(tmp_path) as images:
        images.recipe(GOOD)
        view = await images.build()
        images.vms = [msgspec.structs.replace(vm_of(view.id), state=VmState.RUNNING)]
        with pytest.raises(IllegalState, match="VM 'web-1' is running"):
            await build(images, BuildOptions(vm="web-1"))
        with pytest.raises(NotFound, match="no VM 'web-2'"):
            await build(images, BuildOptions(vm="web-2"))
        with pytest.raises(UsageError, match="no other option"):
            await build(images, BuildOptions(vm="web-1", packages=["jq"]))


async def test_nothing_is_built_on_what_a_guest_has_written(tmp_path: Path) -> None:
    async with running(tmp_path) as images:
        images.recipe(GOOD)
        view = await images.build()
        record = images.store.load(view.id)
        images.store.save(record.id, msgspec.structs.replace(record, recipe="vm:debian"))
        with pytest.raises(Conflict, match="made of a VM's disks"):
            await build(images, BuildOptions(base="debian"))
