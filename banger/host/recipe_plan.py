"""Writes what a recipe wants as plain files for the build program, rootfs/make-image.

``python -m banger.host.recipe_plan PLAN [--recipe-file TOML] [--profile TOML]
[--from-image DIRECTORY] [--package NAME]… [--script FILE]…``. In PLAN:

- ``suite``, ``size``: one line;
- ``packages``, ``drivers``: one name a line, of all layers;
- ``npm``: not empty when any layer wants something of npm;
- ``layers/NN/``: ``name``; ``tree/`` to lay over the root; ``masked``, ``masked-generators``,
  ``on``, ``off``: a unit a line; ``npm``: PACKAGE MEMBER PATH yes|no, by tabs; ``steps/NN``:
  programs, each with ``NN.name`` and, when it may fail, ``NN.optional``.

On an image the recipe's bases are left out: they are in it already.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from banger.host import recipe
from banger.host.recipe import Layer, Recipe
from banger.kernel.errors import BangerError

DEFAULT_SIZE_BYTES = 4 << 30
STRICT = "#!/bin/bash\nset -euo pipefail\n"


def write_plan(
    plan: Path,
    found: Sequence[Layer],
    *,
    packages: Sequence[str] = (),
    scripts: Sequence[Path] = (),
    least_bytes: int = 0,
) -> None:
    """``packages`` and ``scripts`` come last; ``least_bytes`` is the size of the base.

    ``plan`` must not exist. Raises OSError.
    """
    plan.mkdir()
    recipes = [layer.recipe for layer in found]
    suites = [one.suite for one in recipes if one.suite]
    sizes = [layer.size_bytes for layer in found if layer.size_bytes is not None]
    size = max(least_bytes, sizes[-1] if sizes else 0) or DEFAULT_SIZE_BYTES
    _lines(plan / "suite", suites[-1:])
    _lines(plan / "size", [str(size)])
    wanted = [name for one in recipes for name in one.packages]
    _lines(plan / "packages", dict.fromkeys([*wanted, *packages]))
    _lines(plan / "drivers", dict.fromkeys(name for one in recipes for name in one.drivers))
    _lines(plan / "npm", [package.package for one in recipes for package in one.npm])
    (plan / "layers").mkdir()
    for number, layer in enumerate(found):
        _write_layer(plan / "layers" / f"{number:02}", layer)
    if scripts:
        last = plan / "layers" / f"{len(found):02}"
        _write_layer(last, Layer(Path("options"), Recipe()))
        for path in scripts:
            _step(last / "steps", path.name, _script(path.read_bytes()))


def _write_layer(directory: Path, layer: Layer) -> None:
    one = layer.recipe
    (directory / "steps").mkdir(parents=True)
    if one.tree is None:
        (directory / "tree").mkdir()
    else:
        shutil.copytree(layer.beside(one.tree), directory / "tree", symlinks=True)
    (directory / "tree").chmod(0o755)
    for file in one.files:
        there = directory / "tree" / file.path[1:]
        there.parent.mkdir(parents=True, exist_ok=True)
        if file.source is not None:
            shutil.copyfile(layer.beside(file.source), there)
        else:
            there.write_text(file.content or "")
        there.chmod(int(file.mode, 8))
    _lines(directory / "name", [layer.name])
    _lines(directory / "masked", one.services.masked)
    _lines(directory / "masked-generators", one.masked_generators)
    _lines(directory / "on", one.services.on)
    _lines(directory / "off", one.services.off)
    _lines(
        directory / "npm",
        (
            f"{package.package}\t{member}\t{path}\t{'yes' if package.optional else 'no'}"
            for package in one.npm
            for member, path in package.files.items()
        ),
    )
    steps = directory / "steps"
    for name in one.optional_packages:
        install = f"apt-get -qq -y install {shlex.quote(name)}\n"
        _step(steps, f"package {name}", (STRICT + install).encode(), optional=True)
    if one.hook is not None:
        _step(steps, one.hook, _script(layer.beside(one.hook).read_bytes()))
    for command in one.commands:
        text = f"{STRICT}{command.run}\n".encode()
        _step(steps, command.name, text, optional=command.optional)


def _script(content: bytes) -> bytes:
    return content if content.startswith(b"#!") else STRICT.encode() + content


def _step(steps: Path, name: str, content: bytes, *, optional: bool = False) -> None:
    path = steps / f"{len(list(steps.glob('*.name'))):02}"
    path.write_bytes(content)
    path.chmod(0o755)
    _lines(path.with_suffix(".name"), [name])
    if optional:
        path.with_suffix(".optional").touch()


def _lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def main() -> int:
    parser = argparse.ArgumentParser("recipe_plan", allow_abbrev=False)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--recipe-file", type=Path)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--from-image", type=Path)
    parser.add_argument("--package", action="append", default=[])
    parser.add_argument("--script", action="append", default=[], type=Path)
    given = parser.parse_args()
    try:
        least, found = 0, []
        if given.from_image is not None:
            least = (given.from_image / "root.ext4").stat().st_size
            found = [recipe.load(given.recipe_file)] if given.recipe_file else []
        elif given.recipe_file is not None:
            found = recipe.layers(given.recipe_file)
        else:
            parser.error("--recipe-file or --from-image is needed")
        if given.profile is not None:
            found.append(recipe.load(given.profile, profile=True))
        write_plan(
            given.plan, found, packages=given.package, scripts=given.script, least_bytes=least
        )
    except (BangerError, OSError) as error:
        sys.stderr.write(f"build: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
