from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import VM_NAME, Command, Kind, Option
from banger.kernel.errors import UsageError
from banger.model.names import check_name
from banger.model.requests.vms import WaitCondition, WaitVm
from banger.model.vm import VmView


def run(context: Context, *, name: str, condition: str, timeout_s: float) -> None:
    if not 0 < timeout_s <= 86400:
        raise UsageError(f"--timeout {timeout_s:g} is not within 0 and 86400 seconds")
    request = WaitVm(check_name("VM", name), WaitCondition(condition), timeout_s)
    view = context.call(request)
    context.document(view)
    context.line(f"{name} {_REACHED.get(request.condition, f'is {view.state}')}")


_REACHED = {
    WaitCondition.EXEC: "runs commands",
    WaitCondition.HEALTHY: "is healthy",
    WaitCondition.SSH: "is reachable by ssh",
}


COMMAND = Command(
    path=("vm", "wait"),
    summary="Wait until a VM runs, answers, or has stopped.",
    details="running: its agent has answered. exec: a command was run in it. healthy: the guest's "
    "own init has taken over. ssh: it listens. stopped: it has no VMM, crashed or not.",
    run=run,
    reply=VmView,
    arguments=(VM_NAME,),
    options=(
        Option(
            "condition",
            ("--for",),
            "What to wait for.",
            Kind.CHOICE,
            default="running",
            choices=tuple(condition.value for condition in WaitCondition),
        ),
        Option(
            "timeout_s", ("--timeout",), "Give up after this time.", Kind.SECONDS, "SECONDS", 60.0
        ),
    ),
    examples=("banger vm wait testbox --for ssh --timeout 60",),
)
