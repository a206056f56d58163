from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion
from banger.commands.many import Outcome
from banger.kernel.errors import BangerError, ErrorReply, Interrupted
from banger.model.names import check_name
from banger.model.requests.images import DeleteImage


def run(context: Context, *, names: tuple[str, ...]) -> int:
    wanted = list(dict.fromkeys(check_name("image", name) for name in names))
    outcomes: list[Outcome] = []
    code = 0
    for name in wanted:
        try:
            context.call(DeleteImage(name))
        except Interrupted:
            raise
        except BangerError as error:
            context.note(f"banger: {error}")
            code = code or error.exit_code
            outcomes.append(Outcome(name, None, ErrorReply.of(error)))
        else:
            context.line(f"{name} deleted")
            outcomes.append(Outcome(name, None, None))
    context.document(outcomes)
    return code


COMMAND = Command(
    path=("image", "delete"),
    summary="Delete images that no VM uses.",
    details="All builds of the name go. The file of a registered image stays.",
    run=run,
    reply=list[Outcome],
    mutates=True,
    arguments=(Argument("names", "Names of the images.", many=True, completion=Completion.IMAGE),),
    examples=("banger image delete old",),
)
