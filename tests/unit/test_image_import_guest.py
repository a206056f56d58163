"""What VMs of an imported image are told: who is the first process, environment, entrypoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.capabilities.builtin.image import LOG, Image
from banger.host.image_files import image_store
from banger.kernel.errors import BangerError, CommandNotFound, GuestError, TimedOut
from banger.model.image import ImageInit, ImageProcess, ImageRecord
from banger.testing import FakeDaemon, conformance, life

PROCESS = ImageProcess(["/bin/app", "--odd word"], {"A": "1"}, "app", "/srv")
AS_AGENT = "banger.init=agent"


def put_record(directory: Path, init: ImageInit, process: ImageProcess | None) -> None:
    """Beside the image's files, where the kit has them."""
    record = ImageRecord(
        id="image",
        name="odd",
        recipe="",
        built_at=0.0,
        root_bytes=1,
        kernel_version="6.1",
        distribution="Odd",
        init=init,
        process=process,
    )
    image_store(directory).save("image", record)


async def test_a_container(tmp_path: Path) -> None:
    put_record(tmp_path, ImageInit.AGENT, PROCESS)
    async with life(Image, tmp_path) as vm:
        assert vm.guest.plan.kernel_arguments == (AS_AGENT,)
        assert vm.guest.environment == {"A": "1"}
        assert vm.guest.modes[LOG] == 0o666
        (ran,) = vm.guest.ran
        assert ran[:2] == ("/bin/sh", "-c") and ran[4:] == ("/bin/app", "--odd word")
        await vm.stop()
        await vm.start()
        assert len(vm.guest.ran) == 2


async def test_without_the_entrypoint(tmp_path: Path) -> None:
    put_record(tmp_path, ImageInit.AGENT, PROCESS)
    async with life(Image, tmp_path, {"entrypoint": False}) as vm:
        assert vm.guest.ran == [] and LOG not in vm.guest.files
        assert vm.guest.plan.kernel_arguments == (AS_AGENT,)


@pytest.mark.parametrize(
    ("init", "process", "arguments"),
    [
        (ImageInit.IMAGE, None, ()),
        (ImageInit.IMAGE, PROCESS, ()),
        (ImageInit.AGENT, None, (AS_AGENT,)),
        (ImageInit.AGENT, ImageProcess(), (AS_AGENT,)),
    ],
)
async def test_nothing_to_start(
    tmp_path: Path, init: ImageInit, process: ImageProcess | None, arguments: tuple[str, ...]
) -> None:
    put_record(tmp_path, init, process)
    async with life(Image, tmp_path) as vm:
        assert vm.guest.ran == [] and vm.guest.plan.kernel_arguments == arguments


async def test_an_image_whose_record_is_gone(tmp_path: Path) -> None:
    async with life(Image, tmp_path) as vm:
        assert vm.guest.ran == [] and vm.guest.plan.kernel_arguments == ()


@pytest.mark.parametrize("error", [CommandNotFound("x"), GuestError("no user"), TimedOut("x")])
async def test_an_entrypoint_that_does_not_start(tmp_path: Path, error: BangerError) -> None:
    """The guest is of use without it."""
    put_record(tmp_path, ImageInit.AGENT, PROCESS)
    daemon = FakeDaemon(Image, tmp_path)
    async with daemon.serving():
        vm = await daemon.create("box", start=False)
        vm.guest.refuse("/bin/sh", error=error)
        await vm.start()
        assert vm.guest.is_up
        await vm.delete()


async def test_conformance(tmp_path: Path) -> None:
    def arrange(daemon: FakeDaemon) -> None:
        directory = daemon._directory
        put_record(directory, ImageInit.AGENT, PROCESS)

    await conformance(Image, tmp_path, arrange=arrange)
