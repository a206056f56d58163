from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Kind, Option
from banger.commands.select import NAMES, SELECTION, check_parallel, has_pattern, select
from banger.kernel.errors import ErrorReply, UsageError
from banger.model.names import check_name
from banger.model.requests.exec import Exec, ExecResult

if TYPE_CHECKING:
    from banger.model.requests.runs import RunVm

TIMED_OUT_CODE = 124
TIMEOUT_MAX_S = 86400 * 365
SIGNAL_CODE = 128
"""Plus the signal's number, as shells have it."""


class Executed(msgspec.Struct, frozen=True):
    """What a command came to, in ``--json`` output. ``code`` is -1 when ``signal`` ended it."""

    name: str
    code: int
    signal: int
    timed_out: bool
    stdout: str
    stderr: str


class Ran(msgspec.Struct, frozen=True):
    """The same of one of several VMs. The end is null with an error."""

    name: str
    code: int | None
    signal: int | None
    timed_out: bool | None
    stdout: str
    stderr: str
    error: ErrorReply | None


def run(
    context: Context,
    *,
    names: tuple[str, ...],
    command: tuple[str, ...],
    everything: bool,
    labels: tuple[str, ...],
    parallel: int,
    tty: bool,
    user: str,
    workdir: str | None,
    env: tuple[str, ...],
    timeout_s: float | None,
) -> int:
    if not command:
        raise UsageError("no command is given", hint="it stands after '--'")
    several = len(names) != 1 or everything or bool(labels) or has_pattern(names)
    if several and tty:
        raise UsageError("--tty is for one VM, and others than one were asked for")
    request = exec_request(
        "", command, tty=tty, user=user, workdir=workdir, env=env, timeout_s=timeout_s
    )
    if several:
        from banger.commands.exec_many import exec_many

        check_parallel(parallel)
        selection = select(context, names, everything=everything, labels=labels)
        requests = [msgspec.structs.replace(request, name=name) for name in selection.names]
        return exec_many(context, requests, parallel)
    request = msgspec.structs.replace(request, name=check_name("VM", names[0]))
    if context.json:
        return show_captured(context, request.name, request)
    return told(context, _joined(context, request))


def exec_request(
    name: str,
    command: tuple[str, ...],
    *,
    tty: bool,
    user: str,
    workdir: str | None,
    env: tuple[str, ...],
    timeout_s: float | None,
) -> Exec:
    """Raises `UsageError` naming the flag."""
    if timeout_s is not None and not 0 < timeout_s <= TIMEOUT_MAX_S:
        raise UsageError(f"--timeout {timeout_s:g} is not within 0 and {TIMEOUT_MAX_S} seconds")
    size = _terminal_size()
    variables = dict(_variable(item) for item in env)
    if tty:
        variables.setdefault("TERM", os.environ.get("TERM", "linux"))
    return Exec(
        name=name,
        argv=list(command),
        env=variables,
        cwd=workdir,
        user=user,
        tty=tty,
        rows=size.lines,
        cols=size.columns,
        timeout_s=timeout_s or 0,
    )


def _terminal_size() -> os.terminal_size:
    """The terminal's own word: COLUMNS and LINES, which shutil believes, may be of another one."""
    usual = os.terminal_size((80, 24))
    try:
        size = os.get_terminal_size(1)
    except OSError:
        return usual
    return size if size.lines and size.columns else usual


def told(context: Context, result: ExecResult) -> int:
    """The exit code; what it does not tell is said."""
    if result.timed_out:
        context.note("banger: the command was ended at its timeout")
    return exit_code(result)


def _joined(context: Context, request: Exec) -> ExecResult:
    """With this process's streams where the command may use them, else with an empty stdin."""
    from banger.client.exec import run_exec, watch_exec

    if context.sink.terminal:
        return run_exec(context.daemon, request)
    if request.tty:
        raise UsageError("--tty needs the terminal, and this command does not have it")
    return watch_exec(
        context.daemon, request, out=context.sink.out_bytes, err=context.sink.err_bytes
    )


def exit_code(result: ExecResult) -> int:
    """What this process exits with, as a shell would tell the command's end."""
    if result.timed_out:
        return TIMED_OUT_CODE
    return SIGNAL_CODE + result.signal if result.signal else result.code


def show_captured(context: Context, name: str, request: Exec | RunVm) -> int:
    """With ``--json``: stdin is empty, and one object has what the command wrote."""
    from banger.client.exec import capture_exec

    result, out, err = capture_exec(context.daemon, request)
    context.document(
        Executed(
            name,
            result.code,
            result.signal,
            result.timed_out,
            out.decode(errors="replace"),
            err.decode(errors="replace"),
        )
    )
    return exit_code(result)


def _variable(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--env {text!r} is not KEY=VALUE")
    return key, value


COMMAND_OPTIONS = (
    Option(
        "user",
        ("-u", "--user"),
        "User in the guest; the image says who by default, else root.",
        metavar="USER",
        default="",
    ),
    Option("workdir", ("-w", "--workdir"), "Directory in the guest.", metavar="DIR"),
    Option("env", ("-e", "--env"), "Set a variable.", metavar="KEY=VALUE", many=True),
    Option(
        "timeout_s", ("--timeout",), "End the command after this time.", Kind.SECONDS, "SECONDS"
    ),
)
"""How a command is to run, here and for ``vm run``."""

COMMAND = Command(
    path=("vm", "exec"),
    summary="Run a command in a VM, or in several at once.",
    details="Exits with the command's code; 128 + N when signal N ended it, 124 at the timeout. "
    "Signals sent to banger are sent on to the command. In several VMs its stdin is empty, each "
    "line of output begins with the VM's name, and the exit code is the first in the order of "
    "the names that is not 0. In a line without '--' the first word is the VM.",
    run=run,
    reply=Executed | list[Ran],
    mutates=True,
    arguments=(
        NAMES,
        Argument("command", "The command and its arguments, after '--'.", many=True),
    ),
    dashes_split=True,
    options=(
        *SELECTION,
        Option("tty", ("-t", "--tty"), "Give the command a terminal.", Kind.FLAG),
        *COMMAND_OPTIONS,
    ),
    examples=(
        "banger vm exec testbox -- uname -a",
        "banger vm exec testbox -t -- bash",
        "banger vm exec 'web-*' --label stage=test -- uptime",
    ),
)
