from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command, Completion, Option
from banger.commands.labels import check_key, parse_labels
from banger.commands.lifetime import CHANGED_LIFETIME, check_lifetime
from banger.commands.many import Outcome, each
from banger.commands.select import ALL, LABEL, NAMES, PARALLEL, select
from banger.commands.shape import SHAPE, Shape, check_shape
from banger.kernel.errors import UsageError
from banger.model.lifetime import LifetimeChange
from banger.model.requests.vms import SetVm
from banger.model.vm import OptionValues


def run(
    context: Context,
    *,
    names: tuple[str, ...],
    everything: bool,
    where: tuple[str, ...],
    parallel: int,
    labels: tuple[str, ...],
    rm: bool | None,
    ttl: str | None,
    idle_stop: str | None,
    unlabels: tuple[str, ...],
    vcpus: int | None,
    memory_mib: int | None,
    disk: str | None,
    options: OptionValues,
) -> int:
    shape = check_shape(vcpus, memory_mib, disk)
    changes: dict[str, str | None] = {**parse_labels(labels)}
    for key in unlabels:
        if changes.setdefault(check_key(key), None) is not None:
            raise UsageError(f"--label and --unlabel contradict each other about {key!r}")
    lifetime = check_lifetime(rm=rm, ttl=ttl, idle_stop=idle_stop)
    if not changes and not options and shape == Shape() and lifetime == LifetimeChange():
        raise UsageError(
            "nothing is to be changed", hint="'banger vm set --help' shows what can be"
        )
    selection = select(context, names, everything=everything, labels=where)
    return each(
        context,
        selection,
        lambda name: SetVm(
            name, shape.vcpus, shape.memory_mib, shape.disk_bytes, changes, options, lifetime
        ),
        "changed",
        parallel=parallel,
    )


COMMAND = Command(
    path=("vm", "set"),
    summary="Change the shape, labels, lifetime and options of VMs.",
    details="What is not mentioned stays as it is. The shape is changed while a VM is stopped; "
    "a disk can grow, never shrink. --label gives a label here; --where chooses "
    "by labels.",
    run=run,
    reply=list[Outcome],
    mutates=True,
    takes_options=True,
    arguments=(NAMES,),
    options=(
        ALL,
        Option(
            "where",
            ("--where",),
            LABEL.help,
            metavar=LABEL.metavar,
            many=True,
            completion=Completion.LABEL,
        ),
        PARALLEL,
        Option(
            "labels",
            ("--label",),
            "Give a label.",
            metavar="KEY=VALUE",
            many=True,
            completion=Completion.LABEL,
        ),
        *SHAPE,
        *CHANGED_LIFETIME,
        Option(
            "unlabels",
            ("--unlabel",),
            "Take a label away.",
            metavar="KEY",
            many=True,
            completion=Completion.LABEL_KEY,
        ),
    ),
    examples=(
        "banger vm set web-1 --label stage=test --unlabel owner",
        "banger vm set web-1 --memory 1024 --disk 16G",
        "banger vm set job-42 --ttl 2h --no-rm",
        "banger vm set --where stage=test --label stage=live",
    ),
)
