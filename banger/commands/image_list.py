from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.model.image import ImageState, ImageView
from banger.model.requests.images import ListImages
from banger.model.sizes import show_size


def run(context: Context) -> None:
    views = context.call(ListImages())
    context.document(views)
    if not views:
        context.note("there are no images; 'banger image build debian' makes one")
        return
    context.table(
        ("NAME", "STATE", "SYSTEM", "KERNEL", "DISK", "ON HOST", "BUILT", "VMS"),
        [
            (
                view.name + (" *" if view.default else ""),
                view.state,
                view.distribution or "-",
                view.kernel_version or "-",
                show_size(view.disk_bytes) if view.id else "-",
                show_size(view.allocated_bytes),
                view.built_at[:10] or "-",
                str(len(view.vms)),
            )
            for view in views
        ],
    )
    if any(view.default for view in views):
        context.note("* the default image")
    for view in views:
        if view.state is ImageState.UNUSABLE:
            context.note(f"{view.name} can't be used: {view.problem}")
        if view.building is not None:
            context.note(f"{view.name} is being built: {progress_of(view)}")


def progress_of(view: ImageView) -> str:
    build = view.building
    if build is None:
        return "-"
    return (
        f"{build.step}, for {build.elapsed_s:.0f} s since {build.since}, "
        f"{show_size(build.written_bytes)}"
    )


COMMAND = Command(
    path=("image", "list"),
    summary="List the images.",
    run=run,
    reply=list[ImageView],
    examples=("banger image list",),
)
