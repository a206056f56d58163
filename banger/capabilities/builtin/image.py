"""What an imported image says of its guests: no init, an environment, an entrypoint."""

from __future__ import annotations

from typing import Annotated

from banger.capabilities.capability import API_VERSION, Capability
from banger.capabilities.guest import GuestContribution
from banger.capabilities.host import Step, Vm
from banger.capabilities.options import Options, option
from banger.host.oci_process import record_beside
from banger.kernel.errors import CommandNotFound, GuestError, TimedOut
from banger.model.image import ImageInit, ImageProcess

LOG = "/var/log/entrypoint.log"
START = f'exec >>{LOG} 2>&1 </dev/null; "$@" &'
"""The shell ends at once; what it leaves running is the agent's, which is the first process."""


class ImageOptions(Options, frozen=True):
    entrypoint: Annotated[
        bool, option("Start the entrypoint of an imported image that runs no init.", "--entrypoint")
    ] = True


class Image(Capability[ImageOptions]):
    api_version = API_VERSION
    name = "image"
    summary = "The environment and entrypoint of an imported image; guests without an init."
    options = ImageOptions
    late_files = True

    def contribute(self, vm: Vm, options: ImageOptions, guest: GuestContribution) -> None:
        record = record_beside(vm.image_directory)
        if record is None:
            return
        if record.init is ImageInit.AGENT:
            guest.kernel_argument("banger.init", "agent")
        if record.process is not None:
            for name, value in record.process.environment.items():
                guest.environment(name, value)
        if _to_start(vm, options) is not None:
            # Empty at each start; the entrypoint may be of any user.
            guest.file(LOG, "", mode=0o666)

    async def started(self, vm: Vm, options: ImageOptions, step: Step) -> None:
        process = _to_start(vm, options)
        if process is None:
            return
        try:
            await self.host.guest_run(
                vm,
                ["/bin/sh", "-c", START, "entrypoint", *process.argv],
                user=process.user or "root",
                workdir=process.workdir or "/",
            )
        except CommandNotFound:
            step.progress("the image has no /bin/sh: its entrypoint was not started")
        except (GuestError, TimedOut) as error:
            # The guest is of use without it, at least for finding out why.
            step.progress(f"the entrypoint was not started: {error}")


def _to_start(vm: Vm, options: ImageOptions) -> ImageProcess | None:
    record = record_beside(vm.image_directory)
    if record is None or record.init is not ImageInit.AGENT or not options.entrypoint:
        return None
    return record.process if record.process is not None and record.process.argv else None
