"""What can be asked of a guest's agent, beside running commands (`banger.guest.exec`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from banger.guest.link import AgentLink
from banger.kernel.errors import GuestError, NotFound, UsageError
from banger.kernel.wire import BAD_BYTES
from banger.model.guest import GuestConfig
from banger.model.requests.files import DirectoryEntry, FileInfo
from banger.model.requests.guests import GuestHealth
from banger.model.stats import (
    DISKS_MAX,
    PATH_CHARACTERS,
    Count,
    GuestDisk,
    GuestMemory,
    GuestUsage,
    Load,
)
from banger.model.text import printable

T = TypeVar("T")

ENTRIES_LIMIT = 1 << 16
NOTES_LIMIT = 16
FREEZE_S = 180.0
"""How long a settled guest may take to zero its memory, at most."""


class _Health(msgspec.Struct, frozen=True):
    version: str
    stage: str
    hostname: str
    uptime_ms: Count
    sessions: Count
    ssh: bool


class _Disk(msgspec.Struct, frozen=True):
    path: Annotated[str, msgspec.Meta(max_length=4096)]
    size_bytes: Count
    used_bytes: Count
    available_bytes: Count

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.size_bytes, self.used_bytes, self.available_bytes


class _Usage(msgspec.Struct, frozen=True):
    uptime_ms: Count
    load: Annotated[list[Load], msgspec.Meta(min_length=3, max_length=3)]
    processes: Count
    memory: GuestMemory
    disks: Annotated[list[_Disk], msgspec.Meta(max_length=DISKS_MAX)]


class _Entry(msgspec.Struct, frozen=True):
    name: str
    type: Literal["file", "directory", "symlink", "other"]
    mode: Count
    size: Count


class _Entries(msgspec.Struct, frozen=True):
    entries: list[_Entry]


class _Frozen(msgspec.Struct, frozen=True):
    zeroed_bytes: Count
    took_ms: Count


class _FailedPart(msgspec.Struct, frozen=True):
    part: str
    error: str


class _Configured(msgspec.Struct, frozen=True):
    applied: list[str] = []
    failed: list[_FailedPart] = []
    notes: list[str] = []


async def health(link: AgentLink) -> GuestHealth:
    async with link.control() as connection:
        found = _decode(await connection.request("GET", "/healthz"), _Health)
    return GuestHealth(
        hostname=printable(found.hostname),
        stage=printable(found.stage),
        uptime_ms=found.uptime_ms,
        sessions=found.sessions,
        ssh=found.ssh,
        agent_version=printable(found.version),
    )


async def stats(link: AgentLink) -> GuestUsage:
    """Raises `GuestError` for what no guest can have."""
    async with link.control() as connection:
        try:
            body = await connection.request("GET", "/v1/stats")
        except NotFound:
            raise GuestError(
                "the guest's agent is of an older version", hint="a restart gives it a new one"
            ) from None
    found = _decode(body, _Usage)
    disks = [GuestDisk(printable(d.path, limit=PATH_CHARACTERS), *d.sizes) for d in found.disks]
    return GuestUsage(found.uptime_ms, found.load, found.processes, found.memory, disks)


async def check_configured(link: AgentLink) -> tuple[str, ...]:
    """What somebody should hear of the cold configuration, a line each.

    Raises `GuestError` when a part of it could not be applied.
    """
    async with link.control() as connection:
        return _check_applied(await connection.request("GET", "/v1/configured"))


async def configure(link: AgentLink, config: GuestConfig) -> tuple[str, ...]:
    """Deliver a configuration warm. Returns and raises as `check_configured`."""
    async with link.control() as connection:
        return _check_applied(
            await connection.request("POST", "/v1/configure", body=msgspec.json.encode(config))
        )


async def freeze(link: AgentLink, timeout_s: float) -> tuple[int, int]:
    """Make the guest a template: settled, without an identity, its free memory zeroed.

    Returns the bytes zeroed and the milliseconds it took. Raises `GuestError` when the guest has
    not settled after ``timeout_s``, which says what it still does. Stop the machine next; a guest
    that was asked to freeze is good for nothing but a template.
    """
    body = msgspec.json.encode({"timeout_ms": int(timeout_s * 1000)})
    async with link.control() as connection:
        try:
            reply = await connection.request(
                "POST", "/v1/freeze", body=body, answer_s=timeout_s + FREEZE_S
            )
        except UsageError as error:
            raise GuestError(f"the guest can't be frozen: {error.message}") from None
    found = _decode(reply, _Frozen)
    return found.zeroed_bytes, found.took_ms


async def set_clock(link: AgentLink, unix_ns: int) -> None:
    async with link.control() as connection:
        await connection.request("PUT", "/v1/clock", body=msgspec.json.encode({"unix_ns": unix_ns}))


async def power_off(link: AgentLink) -> None:
    """Ask the guest's init to shut down; returns at once."""
    async with link.control() as connection:
        await connection.request("POST", "/v1/poweroff")


@asynccontextmanager
async def open_file(
    link: AgentLink, path: str
) -> AsyncIterator[tuple[FileInfo, AsyncIterator[bytes]]]:
    """What the file is, and its content; read it to the end."""
    async with link.session() as connection:
        headers, chunks = await connection.download(_target("/v1/files", path))
        try:
            mode, size = int(headers["x-mode"], 8) & 0o7777, int(headers["content-length"])
        except (KeyError, ValueError):
            raise GuestError(f"the agent's reply for {path!r} lacks mode or size") from None
        async with aclosing(chunks):
            yield FileInfo("file", mode, size), chunks
        connection.end_download()


async def write_file(
    link: AgentLink, path: str, *, mode: int, user: str, size: int, content: AsyncIterator[bytes]
) -> None:
    """``content`` must yield exactly ``size`` bytes."""
    target = _target("/v1/files", path, mode=f"{mode:04o}", user=user)
    async with link.session() as connection:
        await connection.begin("PUT", target, headers=(), length=size)
        async for data in content:
            await connection.send_body(data)
        await connection.end_body()
        await connection.finish()


async def list_directory(link: AgentLink, path: str) -> list[DirectoryEntry]:
    async with link.session() as connection:
        body = await connection.request("GET", _target("/v1/directory", path))
    entries = _decode(body, _Entries).entries
    if len(entries) > ENTRIES_LIMIT:
        raise GuestError(f"{path!r} has more than {ENTRIES_LIMIT} entries")
    for entry in entries:
        if entry.name in ("", ".", "..") or "/" in entry.name or "\0" in entry.name:
            raise GuestError(f"the guest names an impossible file: {printable(entry.name)!r}")
    unique = {entry.name: entry for entry in entries}.values()
    return [DirectoryEntry(e.name, FileInfo(e.type, e.mode & 0o7777, e.size)) for e in unique]


async def make_directory(link: AgentLink, path: str, *, mode: int, user: str) -> None:
    target = _target("/v1/directory", path, mode=f"{mode:04o}", user=user)
    async with link.session() as connection:
        await connection.request("PUT", target)


def _target(endpoint: str, path: str, **query: str) -> str:
    return f"{endpoint}?{urlencode({'path': path, **query}, quote_via=quote)}"


def _check_applied(body: bytes) -> tuple[str, ...]:
    configured = _decode(body, _Configured)
    if configured.failed:
        parts = "; ".join(printable(f"{part.part}: {part.error}") for part in configured.failed)
        lost = any(part.part == "mounts" for part in configured.failed)
        raise GuestError(
            f"the guest could not apply its configuration: {parts}",
            hint="'banger vm reset-work NAME' makes a work disk anew that can't be mounted any more"
            if lost
            else "",
        )
    return tuple(printable(note) for note in configured.notes[:NOTES_LIMIT])


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except BAD_BYTES as error:
        raise GuestError(f"the agent's reply is not valid: {error}") from None
