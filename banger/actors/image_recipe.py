"""A build from a recipe: what its program is called with, and all that decides what it makes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from banger.actors.image_catalog import Catalog
from banger.actors.image_key import build_key
from banger.host import recipe
from banger.host.assets import image_maker, image_of_vm_maker
from banger.kernel.errors import (
    BangerError,
    CommandFailed,
    Conflict,
    IllegalState,
    NotFound,
    UsageError,
)
from banger.model.build import BuildOptions
from banger.model.image import ImageRecord
from banger.model.vm import VmState

NO_SUCH_OPTION = 2
"""Exit code of a program that does not take the options it was given."""
OF_VM = "vm:"
"""Begins the recipe of an image that was made of the disks of a VM."""
_SCRIPTS = "scripts"


class RecipeWork:
    """As `Work` has it. ``label`` is the recipe's name or file, or the image that is built on."""

    def __init__(
        self,
        label: str,
        builder: Path,
        environment: Mapping[str, str],
        options: BuildOptions,
        *,
        arguments: Sequence[str] = (),
        inputs: Sequence[Path] = (),
    ) -> None:
        """``arguments`` are those of the options but for scripts, ``inputs`` the files they
        name beyond the builder's own."""
        self.label = label
        self._builder = builder
        self._environment = environment
        self._options = options
        self._arguments = list(arguments)
        self._inputs = list(inputs)

    def check(self, known: ImageRecord | None) -> None:
        if known is not None and (known.registered or known.imported):
            how = "registered" if known.registered else "imported"
            raise Conflict(
                f"image {known.name!r} was {how}, not built",
                hint=f"choose another name, or 'banger image delete {known.name}' first",
            )

    def key(self) -> str:
        if self._options.vm is not None:
            return ""
        arguments: list[str | bytes] = [*self._arguments]
        for script in self._options.scripts:
            arguments += [script.name, script.content]
        return build_key(
            self._builder,
            self.label,
            self._environment,
            arguments=arguments,
            inputs=self._inputs,
        )

    def argv(self, directory: Path) -> list[str]:
        argv = [str(self._builder), str(directory), *self._arguments]
        for path in self._scripts(directory):
            argv += ["--script", str(path)]
        return argv

    def prepare(self, directory: Path) -> None:
        for path, script in zip(self._scripts(directory), self._options.scripts, strict=True):
            path.parent.mkdir(parents=True)
            path.write_bytes(script.content)

    def describe(self, directory: Path, record: ImageRecord) -> ImageRecord:
        shutil.rmtree(directory / _SCRIPTS, ignore_errors=True)
        return msgspec.structs.replace(record, recipe=self.label)

    def failure(
        self, directory: Path, argv: Sequence[str], code: int, words: str, hint: str
    ) -> BangerError:
        flags = sorted({word for word in argv[2:] if word.startswith("--")})
        if code == NO_SUCH_OPTION and flags:
            return UsageError(
                f"the recipe {self.label!r} does not take {', '.join(flags)}: {words}", hint=hint
            )
        return CommandFailed(argv, code, words, hint=hint)

    def _scripts(self, directory: Path) -> list[Path]:
        return [
            directory / _SCRIPTS / f"{number:02}" / script.name
            for number, script in enumerate(self._options.scripts)
        ]


class VmWork(RecipeWork):
    """The disks of a VM, whose image was ``base``: its guests go on to start as that one's do."""

    def __init__(
        self,
        base: ImageRecord,
        builder: Path,
        environment: Mapping[str, str],
        options: BuildOptions,
        arguments: Sequence[str],
    ) -> None:
        super().__init__(f"{OF_VM}{base.name}", builder, environment, options, arguments=arguments)
        self._base = base

    def describe(self, directory: Path, record: ImageRecord) -> ImageRecord:
        described = super().describe(directory, record)
        base = self._base
        return msgspec.structs.replace(described, init=base.init, process=base.process)


def make_work(
    catalog: Catalog,
    find_builder: Callable[[str], Path],
    environment: Mapping[str, str],
    name: str,
    options: BuildOptions,
    vms: Path,
) -> RecipeWork:
    """``name`` is that of the recipe, when the options name no other; ``vms`` is the
    directory of VMs. Blocks.

    Raises `NotFound`, `UsageError` naming what is wrong in which file, `Conflict`,
    `HostNotReady`.
    """
    if options.vm is not None:
        return _of_vm(catalog, environment, options, vms)
    arguments: list[str] = []
    inputs: list[Path] = []
    builder: Path | None = None
    base = catalog.newest().get(options.base) if options.base else None
    if base is not None:
        _check_base(base, options)
        if base.recipe.startswith(OF_VM):
            raise Conflict(
                f"image {base.name!r} was made of a VM's disks: nothing is built on it, for that "
                "would run as root here what its guest has written",
                hint=f"'banger image customize {base.name} --shell' changes it",
            )
        directory = catalog.store.directory(base.id)
        arguments += ["--from-image", str(directory)]
        inputs.append(directory / "build.json")
        builder, name = image_maker(), f"from:{base.name}"
    elif options.base is not None and options.recipe_file is None:
        name = options.base
    if options.recipe_file is not None:
        path = Path(options.recipe_file)
        layers = [recipe.load(path)] if base is not None else recipe.layers(path)
        arguments += ["--recipe-file", str(path)]
        inputs += [file for layer in layers for file in layer.inputs()]
        builder, name = image_maker(), str(path)
    if options.profile is not None:
        profile = recipe.load(recipe.profile_path(options.profile), profile=True)
        arguments += ["--profile", str(profile.path)]
        inputs += profile.inputs()
    if options.rootfs_tarball is not None:
        tarball = Path(options.rootfs_tarball)
        if not tarball.is_file():
            raise NotFound(f"there is no file {tarball}", hint="--rootfs-tarball names a file here")
        arguments += ["--rootfs-tarball", str(tarball)]
        inputs.append(tarball)
    if options.size_bytes is not None:
        arguments += ["--size", str(options.size_bytes)]
    for package in options.packages:
        arguments += ["--package", package]
    builder = builder or find_builder(name)
    return RecipeWork(name, builder, environment, options, arguments=arguments, inputs=inputs)


def _of_vm(
    catalog: Catalog, environment: Mapping[str, str], options: BuildOptions, vms: Path
) -> RecipeWork:
    if options.vm is None or options != BuildOptions(vm=options.vm):
        raise UsageError("no other option goes with the disks of a VM")
    vm = catalog.vm(options.vm)
    if vm.state is not VmState.STOPPED:
        raise IllegalState(
            f"VM {vm.name!r} is {vm.state}: the disks of a stopped one become an image",
            hint=f"'banger vm stop {vm.name}' first",
        )
    base = catalog.store.load(vm.image_id)
    arguments = ["--from-image", str(catalog.store.directory(base.id)), "--vm", str(vms / vm.name)]
    arguments += ["--distribution", base.distribution, "--kernel", base.kernel_version]
    return VmWork(base, image_of_vm_maker(), environment, options, arguments)


def _check_base(base: ImageRecord, options: BuildOptions) -> None:
    if base.registered or base.imported:
        how = "registered" if base.registered else "imported"
        raise Conflict(
            f"image {base.name!r} was {how}, not built: nothing is built on it",
            hint="build on an image of 'banger image build'",
        )
    if options.size_bytes is not None and options.size_bytes < base.root_bytes:
        raise UsageError(
            f"--size {options.size_bytes} is less than the {base.root_bytes} bytes of {base.name!r}"
        )
