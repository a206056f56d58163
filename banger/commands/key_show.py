from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command
from banger.model.requests.keys import KeyStatus, KeyView, ShowKey


def run(context: Context) -> None:
    view = context.call(ShowKey())
    context.document(view)
    context.details(_lines(view))


def _lines(view: KeyView) -> list[tuple[str, str]]:
    lines = [
        ("public", view.public_key),
        ("fingerprint", view.fingerprint),
        ("made", view.made_at),
        ("path", view.path),
    ]
    names = {status: [v.vm for v in view.vms if v.status is status] for status in KeyStatus}
    lines.append(("accepted by", ", ".join(names[KeyStatus.CONFIRMED]) or "no running VM"))
    if names[KeyStatus.OUTDATED]:
        lines.append(("outdated in", ", ".join(names[KeyStatus.OUTDATED])))
    if names[KeyStatus.NEXT_START]:
        lines.append(("at next start", ", ".join(names[KeyStatus.NEXT_START])))
    failed = [v for v in view.vms if v.status is KeyStatus.FAILED]
    return lines + [("unknown in", f"{v.vm}: {v.problem}") for v in failed]


COMMAND = Command(
    path=("key", "show"),
    summary="Show banger's SSH key, and which VMs accept it.",
    run=run,
    reply=KeyView,
    examples=("banger key show",),
)
