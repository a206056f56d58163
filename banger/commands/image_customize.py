from __future__ import annotations

import secrets
import subprocess
import sys

import msgspec

from banger.client.exec import run_exec
from banger.client.ssh import forget_host, ssh_arguments
from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.commands.image_build import build
from banger.commands.vm_create import create
from banger.commands.vm_exec import exec_request
from banger.commands.vm_ssh import SSH_DEADLINE_S, SSH_FAILED
from banger.kernel.errors import BangerError, Conflict, GuestError, UsageError
from banger.model.build import BuildOptions
from banger.model.image import ImageInit, ImageView
from banger.model.names import check_name
from banger.model.requests.exec import AnyOutput, Exec
from banger.model.requests.guests import GetSshAccess
from banger.model.requests.images import BuildImage, ShowImage
from banger.model.requests.vms import CreateVm, DeleteVm, StopVm, WaitCondition, WaitVm

FORGET = """
rm -f /etc/ssh/ssh_host_*_key* /etc/hostname /etc/resolv.conf /root/.ssh/authorized_keys
rm -f /var/lib/systemd/random-seed /var/lib/dbus/machine-id /root/.bash_history
rmdir /root/.ssh 2>/dev/null || true
rm -rf /var/log/journal /tmp/* /tmp/.[!.]*
find /var/log -type f -delete
: >/etc/machine-id
: >/etc/resolv.conf
echo localhost >/etc/hostname
printf '127.0.0.1 localhost\\n::1 localhost\\n' >/etc/hosts
sync
"""
"""What must differ between VMs, and what the agent lays down at each start."""
FORGET_DEADLINE_S = 60.0


def run(context: Context, *, name: str, shell: bool, new: str | None, save: bool) -> int:
    check_name("image", name)
    new = check_name("image", new or name)
    if not shell:
        raise UsageError("--shell is needed: it is the only way to customize for now")
    if not context.sink.terminal:
        raise UsageError("a shell needs the terminal, and this command does not have it")
    if not save and not sys.stdin.isatty():
        raise UsageError("nobody can be asked whether to save", hint="add --save")
    image = context.call(ShowImage(name))
    _check_name(image, new)
    vm = f"customize-{secrets.token_hex(3)}"
    create(context, CreateVm(name=vm, image=name))
    try:
        if image.init is ImageInit.AGENT:
            _shell_of_agent(context, vm)
        elif _shell(context, vm) == SSH_FAILED:
            raise BangerError(f"there was no shell in {vm!r}", hint="nothing was saved")
        if not save and not _confirmed(new):
            context.line("nothing was saved")
            return 0
        _forget(context, vm, image)
        context.call(StopVm(vm))
        view = build(context, BuildImage(new, name, options=BuildOptions(vm=vm)))
    finally:
        context.call(DeleteVm(vm))
        forget_host(context.paths, vm)
    context.document(view)
    return 0


def _check_name(view: ImageView, new: str) -> None:
    """Before anybody has worked in vain."""
    if new == view.name and (not view.managed or view.imported is not None):
        how = "imported" if view.managed else "registered"
        raise Conflict(
            f"image {view.name!r} was {how}: what is made of it needs a name of its own",
            hint="give one with --as",
        )


def _shell(context: Context, vm: str) -> int:
    access = context.call(GetSshAccess(vm))
    context.call(WaitVm(vm, WaitCondition.SSH, SSH_DEADLINE_S))
    context.note(f"a shell in {vm}; it ends with 'exit'")
    stdout = sys.stderr if context.json else None
    return subprocess.run(
        ssh_arguments(context.paths, vm, access), check=False, stdout=stdout
    ).returncode


def _shell_of_agent(context: Context, vm: str) -> None:
    """In a guest without an init nobody starts an SSH server."""
    context.note(f"a shell in {vm}; it ends with 'exit'")
    request = exec_request(
        vm,
        ("/bin/sh",),
        tty=sys.stdin.isatty(),
        user="root",
        workdir="/",
        env=(),
        timeout_s=None,
    )
    if context.json:
        request = msgspec.structs.replace(request, tty=False)
    run_exec(context.daemon, request)


def _confirmed(new: str) -> bool:
    sys.stderr.write(f"save this as image {new}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _forget(context: Context, vm: str, image: ImageView) -> None:
    request = Exec(vm, ["/bin/sh", "-ec", FORGET], user="root", timeout_s=FORGET_DEADLINE_S)
    result = context.daemon.call(request, items=AnyOutput)
    # A container may lack the programs; what the agent lays down it lays down anew.
    if result.code != 0 and image.init is ImageInit.IMAGE:
        raise GuestError(f"{vm!r} could not be cleaned: exit {result.code}")


COMMAND = Command(
    path=("image", "customize"),
    summary="Change an image in a shell, and save it.",
    details="The shell is one of a VM of its own, which is deleted at the end. Its root disk and "
    "its /root become the image; host keys, machine-id, logs and the like are removed.",
    run=run,
    reply=ImageView,
    takes_terminal=True,
    mutates=True,
    arguments=(Argument("name", "Image to begin with.", completion=Completion.IMAGE),),
    options=(
        Option("shell", ("--shell",), "Open a shell.", Kind.FLAG),
        Option(
            "new", ("--as",), "Name of the result; that of the image by default.", metavar="NEW"
        ),
        Option("save", ("--save",), "Save without asking.", Kind.FLAG),
    ),
    examples=("banger image customize debian --shell --as mine",),
)
