from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion
from banger.commands.image_build import BuildLine
from banger.commands.shape import SHAPE, check_shape
from banger.model.events import AnyEvent, BuildProgress, SeedProgress
from banger.model.names import check_name
from banger.model.requests.seeds import WarmImage
from banger.model.seed import SeedView
from banger.model.sizes import show_size


def run(context: Context, *, name: str, vcpus: int | None, memory_mib: int | None) -> None:
    shape = check_shape(vcpus, memory_mib, None)
    request = WarmImage(check_name("image", name), shape.vcpus, shape.memory_mib)
    progress = BuildLine(context)

    def take(event: object) -> None:
        if isinstance(event, SeedProgress):
            progress.take(BuildProgress(event.image, event.step, ""))

    try:
        seed = context.daemon.call(request, items=AnyEvent, on_item=take)
    finally:
        progress.clear()
    context.document(seed)
    context.line(
        f"image {seed.image} is warm for {seed.vcpus} vCPUs and {seed.memory_mib} MiB: "
        f"seed {seed.id}, {show_size(seed.allocated_bytes)} on this host"
    )


COMMAND = Command(
    path=("image", "warm"),
    summary="Make the warm seed of an image now.",
    details="VMs of this shape then begin where it was booted to. Without this command it happens "
    "in the background after the first VM of a shape was booted. 'image show' lists what there is.",
    run=run,
    mutates=True,
    reply=SeedView,
    arguments=(Argument("name", "Name of the image.", completion=Completion.IMAGE),),
    options=tuple(option for option in SHAPE if option.name != "disk"),
    examples=("banger image warm debian", "banger image warm debian --vcpus 2 --memory 512"),
)
