from __future__ import annotations

import os

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Kind, Option
from banger.commands.labels import NEW_LABEL, parse_labels
from banger.commands.lifetime import TTL, check_lifetime
from banger.commands.progress import StageProgress
from banger.commands.shape import SHAPE, check_shape
from banger.commands.vm_create import FAULT, IMAGE, parse_fault
from banger.commands.vm_exec import COMMAND_OPTIONS, Executed, exec_request, show_captured, told
from banger.kernel.errors import UsageError
from banger.model.names import check_name
from banger.model.requests.exec import ExecResult
from banger.model.requests.runs import RunVm
from banger.model.requests.vms import CreateVm
from banger.model.vm import OptionValues


def run(
    context: Context,
    *,
    command: tuple[str, ...],
    name: str | None,
    image: str | None,
    vcpus: int | None,
    memory_mib: int | None,
    disk: str | None,
    labels: tuple[str, ...],
    ttl: str | None,
    tty: bool | None,
    user: str,
    workdir: str | None,
    env: tuple[str, ...],
    timeout_s: float | None,
    fault: str | None,
    options: OptionValues,
) -> int:
    joined = context.sink.terminal and not context.json
    if tty and not joined:
        raise UsageError("--tty needs the terminal, and this command does not have it")
    if tty is None:
        tty = joined and os.isatty(0) and os.isatty(1)
    shape = check_shape(vcpus, memory_mib, disk)
    name = f"run-{os.urandom(4).hex()}" if name is None else check_name("VM", name)
    request = RunVm(
        CreateVm(
            name=name,
            image=None if image is None else check_name("image", image),
            vcpus=shape.vcpus,
            memory_mib=shape.memory_mib,
            disk_bytes=shape.disk_bytes,
            labels=parse_labels(labels),
            options=options,
            lifetime=check_lifetime(rm=None, ttl=ttl, idle_stop=None),
            fault=parse_fault(fault),
        ),
        exec_request(
            name, command, tty=tty, user=user, workdir=workdir, env=env, timeout_s=timeout_s
        ),
    )
    if context.json:
        return show_captured(context, name, request)
    return told(context, _run(context, request))


def _run(context: Context, request: RunVm) -> ExecResult:
    """With this process's streams where the command may use them, else with an empty stdin."""
    from banger.client.exec import run_vm, watch_exec

    progress = StageProgress(context, request.command.name)
    try:
        if context.sink.terminal:
            return run_vm(context.daemon, request, on_event=progress.take, on_ready=progress.clear)
        return watch_exec(
            context.daemon,
            request,
            out=context.sink.out_bytes,
            err=context.sink.err_bytes,
            on_event=progress.take,
        )
    finally:
        progress.clear()


COMMAND = Command(
    path=("vm", "run"),
    summary="Run a command in a VM made for it, and delete the VM.",
    details="The command has this terminal's streams, and a terminal when both are one. "
    "Exits with the command's code, as 'vm exec' does. However it ends, also when this process is "
    "killed, nothing of the VM is left.",
    run=run,
    reply=Executed,
    mutates=True,
    takes_options=True,
    arguments=(Argument("command", "The command and its arguments, after '--'.", many=True),),
    options=(
        IMAGE,
        *SHAPE,
        Option("name", ("--name",), "Name of the VM; one is made up.", metavar="NAME"),
        NEW_LABEL,
        TTL,
        Option(
            "tty",
            ("-t", "--tty"),
            "Give the command a terminal, or none.",
            Kind.FLAG,
            off_flags=("--no-tty",),
        ),
        *COMMAND_OPTIONS,
        FAULT,
    ),
    examples=(
        "banger vm run -- uname -a",
        "banger vm run --image void --memory 512 -- sh -c 'ls | wc -l' <file",
    ),
)
