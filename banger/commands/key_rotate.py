from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.model.requests.keys import KeyStatus, KeyView, RotateKey


def run(context: Context) -> int:
    view = context.call(RotateKey())
    context.document(view)
    context.line(f"the key is now {view.fingerprint}")
    for found in view.vms:
        match found.status:
            case KeyStatus.CONFIRMED:
                context.line(f"{found.vm} accepts it, and no former one")
            case KeyStatus.NEXT_START:
                context.line(f"{found.vm} gets it at its next start")
            case _:
                context.note(
                    f"banger: {found.vm} was not told: {found.problem}; it may accept the former "
                    f"key until 'banger vm restart {found.vm}' or the next 'banger vm ssh'"
                )
    return int(any(found.status is KeyStatus.FAILED for found in view.vms))


COMMAND = Command(
    path=("key", "rotate"),
    summary="Replace banger's SSH key, on this host and in all VMs.",
    details="Open sessions stay. Exits with 1 when a running VM could not be told.",
    run=run,
    reply=KeyView,
    mutates=True,
    examples=("banger key rotate",),
)
