from __future__ import annotations

from pathlib import Path

from banger.client.transfer import GuestPlace, Report, Transfer, parse_place
from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Option
from banger.kernel.errors import BangerError, UsageError
from banger.model.sizes import show_size


def run(context: Context, *, source: str, target: str, user: str) -> None:
    here, there = parse_place(source), parse_place(target)
    if isinstance(here, Path) is isinstance(there, Path):
        raise UsageError(
            "one of source and target must be in a VM, the other on this host",
            hint="a place in a VM is written NAME:/path",
        )
    transfer = Transfer(context.daemon, user)
    try:
        if isinstance(here, Path) and isinstance(there, GuestPlace):
            transfer.upload(here, there)
        elif isinstance(here, GuestPlace) and isinstance(there, Path):
            transfer.download(here, there)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise BangerError(f"can't copy: {where}{error.strerror or error}") from error
    report = transfer.report
    context.document(report)
    for path in report.skipped:
        context.note(f"banger: left out {path}: a link or special file")
    context.line(
        f"copied {report.files} file{'s' * (report.files != 1)}, {show_size(report.bytes)}"
    )


COMMAND = Command(
    path=("vm", "cp"),
    summary="Copy files between this host and a VM.",
    details="Directories are copied with all that is in them. A target that is a directory, or "
    "ends in '/', gets the source under its own name.",
    run=run,
    reply=Report,
    mutates=True,
    arguments=(
        Argument("source", "A path here, or NAME:/path.", completion=Completion.PLACE),
        Argument("target", "A path here, or NAME:/path.", completion=Completion.PLACE),
    ),
    options=(
        Option(
            "user",
            ("-u", "--user"),
            "Who owns the copies in the VM.",
            metavar="USER",
            default="root",
        ),
    ),
    examples=("banger vm cp ./app testbox:/opt/", "banger vm cp testbox:/var/log/dpkg.log ."),
)
