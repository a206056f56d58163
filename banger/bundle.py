"""Makes, fetches and uses runtime bundles; see scripts/runtime-bundle and rootfs/bundle.

``python -m banger.bundle collect DIRECTORY [--image NAME] [--archive FILE]``
``python -m banger.bundle install DIRECTORY MANIFEST``
``python -m banger.bundle image DIRECTORY TARGET``
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import banger
from banger.host import assets, bundle, bundle_archive
from banger.host.paths import Paths
from banger.kernel.errors import BangerError
from banger.model.sizes import show_size
from banger.settings import load_settings


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="banger.bundle", description="runtime bundles")
    verbs = parser.add_subparsers(dest="verb", required=True)
    collect = verbs.add_parser("collect", help="make the bundle of an image of this host")
    collect.add_argument("directory", type=Path)
    collect.add_argument("--image", help="the setting vm.image by default")
    collect.add_argument("--archive", type=Path, help="write it as a tar archive, too")
    install = verbs.add_parser("install", help="unpack the bundle that a manifest names")
    install.add_argument("directory", type=Path)
    install.add_argument("manifest", type=Path)
    image = verbs.add_parser("image", help="copy a bundle's image, as recipes make one")
    image.add_argument("directory", type=Path)
    image.add_argument("target", type=Path)
    arguments = parser.parse_args(argv)
    try:
        _run(arguments)
    except (BangerError, OSError) as error:
        sys.stderr.write(f"banger: {error}\n")
        return error.exit_code if isinstance(error, BangerError) else 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    directory = arguments.directory
    match arguments.verb:
        case "collect":
            paths = Paths.here()
            settings = load_settings(paths.config_file, os.environ)
            name = arguments.image or settings.text("vm.image")
            agent = assets.agent_binary()
            made = bundle.collect(paths.images, name, agent, directory, banger.__version__)
            _tell(made, directory)
            if arguments.archive is not None:
                digest = bundle_archive.pack(directory, made, arguments.archive)
                sys.stdout.write(f'path = "{arguments.archive}"\nsha256 = "{digest}"\n')
        case "install":
            _tell(bundle_archive.install(arguments.manifest, directory), directory)
        case "image":
            sys.stdout.write("step: copy the bundle's image\n")
            sys.stdout.flush()
            bundle.take_image(directory, arguments.target)


def _tell(made: bundle.Bundle, directory: Path) -> None:
    taken = sum((directory / file.path).stat().st_blocks * 512 for file in made.files)
    sys.stdout.write(
        f"{directory}: {made.distribution}, kernel {made.kernel}, {len(made.files)} files, "
        f"{show_size(taken)} on this host\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
