"""A recipe of an image, or a profile laid over one: a small TOML file, read and checked.

docs/guest-image.md explains the keys. All is checked before anything is built, and errors
name the file and the key.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from banger.kernel.errors import BangerError, NotFound, UsageError
from banger.model.build import SIZE_BYTES_MAX, SIZE_BYTES_MIN, PackageName
from banger.model.sizes import parse_size

RECIPES = Path(__file__).resolve().parents[2] / "rootfs"
DEBIAN_PACKAGES = "debian-packages"
"""The base of a recipe that begins with nothing."""
FILE_BYTES_MAX = 256 << 10
_BASES_MAX = 8

Words = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
Unit = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[A-Za-z0-9@:_.\\-]+\Z")]
Driver = Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[A-Za-z0-9_-]+\Z")]
RecipeName = Annotated[str, msgspec.Meta(max_length=63, pattern=r"^[a-z0-9][a-z0-9-]*\Z")]
Beside = Annotated[
    str, msgspec.Meta(max_length=4096, pattern=r"^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*\Z")
]
Target = Annotated[
    str, msgspec.Meta(max_length=4096, pattern=r"^/[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*\Z")
]
FileMode = Annotated[str, msgspec.Meta(pattern=r"^0?[0-7]{3}\Z")]
NpmName = Annotated[
    str,
    msgspec.Meta(
        max_length=214,
        pattern=r"^(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*(@[0-9A-Za-z.^~+-]+)?\Z",
    ),
]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all tables."""


class File(_Table, frozen=True):
    """``source`` is beside the recipe; one of it and ``content`` is given."""

    path: Target
    source: Beside | None = None
    content: str | None = None
    mode: FileMode = "0644"


class Command(_Table, frozen=True):
    """bash, run as root in the tree under ``set -euo pipefail``."""

    run: Annotated[str, msgspec.Meta(min_length=1)]
    name: Words = "command"
    optional: bool = False


class Services(_Table, frozen=True):
    """Of systemd."""

    on: list[Unit] = []
    off: list[Unit] = []
    masked: list[Unit] = []


class NpmPackage(_Table, frozen=True):
    """Files of a package of the npm registry; none of its scripts is run. They are programs."""

    package: NpmName
    files: dict[Beside, Target]
    optional: bool = False


class Recipe(_Table, frozen=True):
    base: RecipeName = ""
    """`DEBIAN_PACKAGES` or the name of a recipe in rootfs/; "" in a profile."""
    summary: str = ""
    suite: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,62}\Z")] | None = None
    size: str | None = None
    packages: list[PackageName] = []
    optional_packages: list[PackageName] = []
    drivers: list[Driver] = []
    masked_generators: list[Unit] = []
    tree: Beside | None = None
    hook: Beside | None = None
    services: Services = Services()
    files: list[File] = []
    commands: list[Command] = []
    npm: list[NpmPackage] = []


class Layer(msgspec.Struct, frozen=True):
    """A recipe and where it is from."""

    path: Path
    recipe: Recipe

    @property
    def name(self) -> str:
        return self.path.parent.name if self.path.name == "recipe.toml" else self.path.stem

    def beside(self, relative: str) -> Path:
        return self.path.parent / relative

    def inputs(self) -> list[Path]:
        """The file itself and all it names; directories stand for what is in them."""
        recipe = self.recipe
        named = [recipe.tree, recipe.hook, *(file.source for file in recipe.files)]
        return [self.path, *(self.beside(name) for name in named if name is not None)]

    @property
    def size_bytes(self) -> int | None:
        return None if self.recipe.size is None else parse_size(self.recipe.size)


def load(path: Path, *, profile: bool = False) -> Layer:
    """Raises `NotFound`, and `UsageError` that names file and key."""
    try:
        data = _read(path)
        table = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from None
    try:
        layer = Layer(path, msgspec.convert(table, Recipe))
    except msgspec.ValidationError as error:
        said = str(error).replace("`$.", "`").replace("`$`", "the top")
        raise _wrong(
            path, re.sub("Expected `str` matching regex .* - at", "illegal value at", said)
        ) from None
    _check(layer, profile=profile)
    return layer


def layers(path: Path) -> list[Layer]:
    """The recipe and those it is based on, the base of all first."""
    found = [load(path)]
    while (base := found[0].recipe.base) != DEBIAN_PACKAGES:
        if len(found) == _BASES_MAX:
            raise _wrong(path, f"more than {_BASES_MAX} recipes stand on each other")
        below = RECIPES / base / "recipe.toml"
        if not below.is_file():
            known = sorted(there.parent.name for there in RECIPES.glob("*/recipe.toml"))
            raise _wrong(
                found[0].path, f"there is no recipe {base!r} - at `base`", " or ".join(known)
            )
        found.insert(0, load(below))
    return found


def profile_path(name: str) -> Path:
    """Raises `NotFound`, naming those there are."""
    path = RECIPES / "profiles" / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(there.stem for there in path.parent.glob("*.toml"))) or "none"
        raise NotFound(f"there is no profile {name!r}", hint=f"profiles: {known}")
    return path


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no recipe {path}") from None
    except OSError as error:
        raise UsageError(f"recipe {path} can't be read: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise UsageError(f"{path} has more than {FILE_BYTES_MAX >> 10} KiB")
    return data


def _check(layer: Layer, *, profile: bool) -> None:
    recipe, path = layer.recipe, layer.path
    if profile and (recipe.base or recipe.suite or recipe.drivers):
        raise _wrong(path, "a profile has no `base`, `suite` and `drivers`")
    if not profile and not recipe.base:
        raise _wrong(path, f"the key `base` is missing: {DEBIAN_PACKAGES!r} or a recipe's name")
    if recipe.base == DEBIAN_PACKAGES and not (recipe.suite and recipe.packages and recipe.drivers):
        raise _wrong(path, f"on {DEBIAN_PACKAGES!r} `suite`, `packages` and `drivers` are needed")
    if recipe.size is not None:
        try:
            size = parse_size(recipe.size)
        except UsageError as error:
            raise _wrong(path, f"{error.message} - at `size`", error.hint) from None
        if not SIZE_BYTES_MIN <= size <= SIZE_BYTES_MAX:
            raise _wrong(path, f"{recipe.size!r} is not within 1G and 16T - at `size`")
    for key, name in (("tree", recipe.tree), ("hook", recipe.hook)):
        _check_beside(layer, key, name, directory=key == "tree")
    for number, file in enumerate(recipe.files):
        if (file.source is None) == (file.content is None):
            raise _wrong(path, f"either source or content - at `files[{number}]`")
        _check_target(path, f"files[{number}].path", file.path)
        _check_beside(layer, f"files[{number}].source", file.source)
    for number, package in enumerate(recipe.npm):
        for member, target in package.files.items():
            _check_target(path, f"npm[{number}].files", member)
            _check_target(path, f"npm[{number}].files", target)


def _check_target(path: Path, key: str, target: str) -> None:
    if {"..", "."} & set(target.split("/")) or target.endswith("/"):
        raise _wrong(path, f"{target!r} is no plain path - at `{key}`")


def _check_beside(layer: Layer, key: str, name: str | None, *, directory: bool = False) -> None:
    if name is None:
        return
    _check_target(layer.path, key, name)
    there, top = layer.beside(name), layer.path.parent.resolve()
    if not there.resolve().is_relative_to(top):
        raise _wrong(layer.path, f"{name!r} leads out of {top} - at `{key}`")
    if not (there.is_dir() if directory else there.is_file()):
        kind = "directory" if directory else "file"
        raise _wrong(layer.path, f"there is no {kind} {there} - at `{key}`")


def _wrong(path: Path, problem: str, hint: str = "") -> BangerError:
    return UsageError(f"recipe {path}: {problem}", hint=hint or "docs/guest-image.md has the keys")
