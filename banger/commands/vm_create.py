from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.commands.labels import NEW_LABEL, parse_labels
from banger.commands.lifetime import NEW_LIFETIME, check_lifetime
from banger.commands.progress import StageProgress
from banger.commands.shape import SHAPE, check_shape
from banger.kernel.errors import UsageError
from banger.kernel.message import Fault
from banger.model.events import AnyEvent
from banger.model.names import check_name
from banger.model.requests.vms import CreateVm, SnapshotName
from banger.model.vm import (
    OptionValues,
    VmView,
)


def run(
    context: Context,
    *,
    position: str | None,
    name: str | None,
    image: str | None,
    vcpus: int | None,
    memory_mib: int | None,
    disk: str | None,
    labels: tuple[str, ...],
    rm: bool,
    ttl: str | None,
    idle_stop: str | None,
    snapshot: str | None,
    no_start: bool,
    fault: str | None,
    options: OptionValues,
) -> None:
    if position is not None and name is not None and position != name:
        raise UsageError(f"two names were given: {position!r} and {name!r}")
    if rm and no_start:
        raise UsageError("--rm and --no-start contradict each other: it would be gone at once")
    shape = check_shape(vcpus, memory_mib, disk)
    request = CreateVm(
        name=_name(position if name is None else name),
        image=None if image is None else check_name("image", image),
        vcpus=shape.vcpus,
        memory_mib=shape.memory_mib,
        disk_bytes=shape.disk_bytes,
        labels=parse_labels(labels),
        options=options,
        lifetime=check_lifetime(rm=rm or None, ttl=ttl, idle_stop=idle_stop),
        snapshot=_snapshot(snapshot),
        start=not no_start,
        fault=parse_fault(fault),
    )
    view = create(context, request)
    context.document(view)


def create(context: Context, request: CreateVm) -> VmView:
    """Create with live stages; a line of result."""
    progress = StageProgress(context, request.name or "new VM")
    try:
        view = context.daemon.call(request, items=AnyEvent, on_item=progress.take)
    finally:
        progress.clear()
    place = f" at {view.address}" if view.address else ""
    context.line(f"{view.name} is {view.state}{place}, created in {progress.summary()}")
    for note in view.notes:
        context.note(f"banger: {view.name}: {note}")
    return view


def _snapshot(text: str | None) -> SnapshotName | None:
    if text is None:
        return None
    vm, colon, name = text.partition(":")
    if not colon:
        raise UsageError(f"--from-snapshot {text!r} is not VM:SNAPSHOT")
    return SnapshotName(check_name("VM", vm), check_name("snapshot", name))


def _name(name: str | None) -> str | None:
    return None if name is None else check_name("VM", name)


def parse_fault(text: str | None) -> Fault | None:
    if text is None:
        return None
    stage, _, mode = text.partition(":")
    return Fault(stage, hang=mode == "hang")


IMAGE = Option(
    "image", ("--image",), "Image to make it from.", metavar="IMAGE", completion=Completion.IMAGE
)
FAULT = Option(
    "fault",
    ("--inject-fault",),
    "For tests: fail (STAGE) or hang (STAGE:hang) there.",
    metavar="STAGE",
    hidden=True,
)

COMMAND = Command(
    path=("vm", "create"),
    summary="Create a VM and start it.",
    details="Returns when the guest's agent answers. A create that fails, or is interrupted, "
    "leaves nothing behind.",
    run=run,
    reply=VmView,
    mutates=True,
    takes_options=True,
    arguments=(
        Argument(
            "position",
            "Name of the VM; one is made up when none is given.",
            required=False,
            metavar="NAME",
        ),
    ),
    options=(
        Option("name", ("--name",), "Name of the VM.", metavar="NAME"),
        IMAGE,
        *SHAPE,
        Option("no_start", ("--no-start",), "Create it, but leave it stopped.", kind=Kind.FLAG),
        NEW_LABEL,
        *NEW_LIFETIME,
        Option(
            "snapshot",
            ("--from-snapshot",),
            "Begin where a VM was at its snapshot, with its image and shape.",
            metavar="VM:SNAPSHOT",
        ),
        FAULT,
    ),
    examples=(
        "banger vm create --name testbox",
        "banger vm create job-42 --ttl 1h --rm",
        "banger vm create web-1 --memory 512 --disk 8G --label app=web",
    ),
)
