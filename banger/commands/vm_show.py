from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import VM_NAME, Command
from banger.commands.labels import show_labels
from banger.commands.lifetime import show_lifetime
from banger.commands.options import show_options
from banger.model.names import check_name
from banger.model.requests.vms import ShowVm
from banger.model.sizes import show_size
from banger.model.vm import VmView


def run(context: Context, *, name: str) -> None:
    view = context.call(ShowVm(check_name("VM", name)))
    context.document(view)
    context.details(_lines(view))


def _lines(view: VmView) -> list[tuple[str, str]]:
    lines = [
        ("name", view.name),
        ("state", f"{view.state} ({view.reason})" if view.reason else str(view.state)),
        ("image", view.image),
        ("address", view.address or "-"),
        ("mac", view.mac or "-"),
        ("shape", f"{view.vcpus} vCPU, {view.memory_mib} MiB"),
        (
            "disk",
            f"{show_size(view.disk_bytes)}, {show_size(view.disk_allocated_bytes)} taken",
        ),
        ("driver", f"{view.driver} ({view.accelerator})" if view.accelerator else view.driver),
        ("pid", str(view.pid or "-")),
        ("tap", view.tap or "-"),
        ("created", view.created_at),
        ("id", view.id),
    ]
    if view.labels:
        lines.append(("labels", show_labels(view.labels)))
    lines += show_lifetime(view.lifetime)
    return lines + show_options(view.options) + [("note", note) for note in view.notes]


COMMAND = Command(
    path=("vm", "show"),
    summary="Show one VM.",
    run=run,
    reply=VmView,
    arguments=(VM_NAME,),
    examples=(
        "banger vm show testbox",
        "banger vm show testbox --json",
    ),
)
