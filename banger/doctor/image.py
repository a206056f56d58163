"""The default image and the guest agent: what a new VM is made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from banger.actors.images import FindImage, GetDefault
from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.looking import in_thread, looking_check
from banger.host import assets
from banger.host.image_files import ImageFiles
from banger.host.user import User, vmm_user
from banger.kernel.errors import HostNotReady, NotFound
from banger.model.finding import Finding, Level
from banger.model.image import ImageRecord
from banger.model.vm import Verb

_MODE_READABLE = 0o644


def image_check(context: DoctorContext) -> Check:
    """``fix`` makes the kernel readable for the VMMs' user."""
    user = vmm_user(context.settings.text("qemu.user"))

    async def find() -> tuple[ImageRecord, ImageFiles]:
        record = await context.images.ask(FindImage(None))
        return record, context.image_files(record)

    async def run() -> Sequence[Finding]:
        try:
            record, files = await find()
        except NotFound as error:
            default = await context.images.ask(GetDefault())
            return [check.failed(error.message, f"banger image build {default.name}")]
        return await in_thread(lambda: _look(check, record, files, user))

    async def fix() -> str:
        _, files = await find()
        return await in_thread(lambda: _make_readable(files.kernel, user))

    check = Check("image", run, fix=fix)
    return check


def agent_check() -> Check:
    """Before each start: the agent is a part of each VM's initramfs."""
    return looking_check("agent", _look_at_agent, before=frozenset({Verb.START}))


def _look(
    check: Check, record: ImageRecord, files: ImageFiles, user: User | None
) -> Sequence[Finding]:
    rebuild = f"banger image build {record.name} --force"
    if record.registered is not None:
        rebuild = f"put it back as it was, or 'banger image delete {record.name}'"
    for path in (files.root, files.kernel, files.modules):
        try:
            size = path.stat().st_size
        except OSError as error:
            return [_unfixable(check, f"{path} can't be used: {error.strerror}", rebuild)]
        if size == 0:
            return [_unfixable(check, f"{path} is empty", rebuild)]
    size = files.root.stat().st_size
    if size != record.root_bytes:
        problem = f"{files.root} has {size} bytes, its record says {record.root_bytes}"
        return [_unfixable(check, problem, rebuild)]
    if not _may_read(files.kernel, user):
        assert user is not None
        return [
            check.failed(
                f"{files.kernel} can't be read by the VMMs' user {user.name!r}",
                f"chmod 644 {files.kernel}",
            )
        ]
    return [check.ok(f"{record.name}: {record.distribution}, kernel {record.kernel_version}")]


def _unfixable(check: Check, summary: str, remedy: str) -> Finding:
    return Finding(check.name, Level.FAILED, summary, remedy)


def _may_read(kernel: Path, user: User | None) -> bool:
    """Whether the VMM can open it anew by its descriptor, for which only its own mode counts."""
    if user is None or user.uid == 0:
        return True
    status = kernel.stat()
    if status.st_uid == user.uid:
        return bool(status.st_mode & 0o400)
    if status.st_gid in (user.gid, *user.groups):
        return bool(status.st_mode & 0o040)
    return bool(status.st_mode & 0o004)


def _make_readable(kernel: Path, user: User | None) -> str:
    if _may_read(kernel, user):
        return ""
    kernel.chmod(_MODE_READABLE)
    return f"{kernel} can be read by all users"


def _look_at_agent(check: Check) -> Sequence[Finding]:
    try:
        path = assets.agent_binary()
    except HostNotReady as error:
        return [check.failed(error.message, error.hint)]
    return [check.ok(f"the guest agent is built: {path}")]
