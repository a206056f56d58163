from __future__ import annotations

from banger.client.ssh import ssh_arguments
from banger.commands.context import Context
from banger.commands.declare import VM_NAME, Argument, Command
from banger.commands.program import run_program
from banger.kernel.errors import BangerError, UsageError
from banger.model.names import check_name
from banger.model.requests.guests import GetHealth, GetSshAccess
from banger.model.requests.vms import WaitCondition, WaitVm

SSH_DEADLINE_S = 120.0
SSH_FAILED = 255
"""Exit code of ssh itself, when the session could not be had."""

CLOSING_S = 0.3
"""How long the connection of the session that has just ended may still be seen in the guest."""


def run(context: Context, *, name: str, command: tuple[str, ...]) -> int:
    if context.json:
        raise UsageError("'vm ssh' has no --json: it hands the terminal to ssh")
    access = context.call(GetSshAccess(check_name("VM", name)))
    # A VM is running as soon as its agent answers; its ssh server comes up a little later.
    context.call(WaitVm(name, WaitCondition.SSH, SSH_DEADLINE_S))
    argv = ssh_arguments(context.paths, name, access)
    if command:
        return run_program(context, [*argv, "--", *command], last=True)
    code = run_program(context, argv)
    if code != SSH_FAILED:
        _remind(context, name)
    return code


def _remind(context: Context, name: str) -> None:
    """After an interactive session: the VM goes on, if it does."""
    try:
        health = context.call(GetHealth(name))
        if health.sessions:
            context.sleep(CLOSING_S)
            health = context.call(GetHealth(name))
    except BangerError:
        return  # it was shut down from inside, or deleted
    others = ""
    if health.sessions:
        others = f", {health.sessions} session{'s' if health.sessions > 1 else ''} open"
    context.note(
        f"VM {name!r} is still running (up {health.uptime_ms // 1000} s{others}); "
        f"'banger vm stop {name}' stops it"
    )


COMMAND = Command(
    path=("vm", "ssh"),
    summary="Log in to a VM by SSH, or run a command that way.",
    details="Uses the system's ssh with banger's key; the VM's host key is pinned.",
    run=run,
    mutates=True,
    takes_terminal=True,
    arguments=(
        VM_NAME,
        Argument("command", "Command to run instead of a shell.", required=False, many=True),
    ),
    examples=("banger vm ssh testbox", "banger vm ssh testbox -- uptime"),
)
