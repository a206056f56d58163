"""Inside the guest: commands and files."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
import trio

from banger.actors import vm_requests
from banger.actors.blocking import run_blocking
from banger.api.backend import Backend
from banger.guest import agent
from banger.guest.exec import ExecSession, open_exec
from banger.host.oci_process import record_beside
from banger.kernel.errors import UsageError
from banger.kernel.rpc import CallContext, Received
from banger.model.requests.exec import Exec, ExecResult, Input, Output, Resize, SendSignal
from banger.model.requests.files import (
    FileInfo,
    ListDirectory,
    Listing,
    MakeDirectory,
    ReadFile,
    WriteFile,
)

ENTRIES_AT_ONCE = 1000
"""A thousand of the longest names are well below the frame's limit."""


async def execute(backend: Backend, request: Exec, context: CallContext) -> ExecResult:
    link = await backend.link(request.name)
    request = await _with_defaults(backend, request)
    async with open_exec(link, request) as session, trio.open_nursery() as nursery:
        nursery.start_soon(_feed, context, session)
        async with aclosing(session.outputs()) as outputs:
            async for output in outputs:
                await context.send(output)
        nursery.cancel_scope.cancel()
    assert session.result is not None
    return session.result


async def _with_defaults(backend: Backend, request: Exec) -> Exec:
    """An OCI image says who its commands run as, and where."""
    if request.user and request.cwd is not None:
        return request
    vm = await (await backend.vm(request.name)).ask(vm_requests.GetRecord())
    directory = backend.doctor.paths.images / vm.image_id
    image = await run_blocking(record_beside, directory)
    if image is None or image.process is None:
        return request
    return msgspec.structs.replace(
        request,
        user=request.user or image.process.user,
        cwd=request.cwd if request.cwd is not None else image.process.workdir or None,
    )


async def _feed(context: CallContext, session: ExecSession) -> None:
    """Pass the client's input on. Signals must overtake input that the command ignores."""
    # Without bound of its own: what the client may have under way is bounded by its credit.
    send, receive = trio.open_memory_channel[Received](math.inf)

    async def write() -> None:
        async for received in receive:
            if isinstance(received.item, Input):
                await session.send_input(received.item.data)
            else:
                await session.end_input()
            await context.consumed(received)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        while True:
            received = await context.receive()
            match received.item:
                case Resize(rows, cols):
                    await session.resize(rows, cols)
                    await context.consumed(received)
                case SendSignal(number):
                    await session.signal(number)
                    await context.consumed(received)
                case _:
                    send.send_nowait(received)


async def read_file(backend: Backend, request: ReadFile, context: CallContext) -> FileInfo:
    link = await backend.link(request.name)
    async with agent.open_file(link, request.path) as (info, chunks):
        async for data in chunks:
            await context.send(Output(data))
    return info


async def write_file(backend: Backend, request: WriteFile, context: CallContext) -> None:
    async def content() -> AsyncIterator[bytes]:
        missing = request.size
        while missing:
            received = await context.receive()
            item = received.item
            if not isinstance(item, Input) or len(item.data) > missing:
                raise UsageError(f"the file's content is not the {request.size} bytes announced")
            missing -= len(item.data)
            yield item.data
            await context.consumed(received)

    link = await backend.link(request.name)
    await agent.write_file(
        link,
        request.path,
        mode=request.mode,
        user=request.user,
        size=request.size,
        content=content(),
    )


async def list_directory(backend: Backend, request: ListDirectory, context: CallContext) -> None:
    entries = await agent.list_directory(await backend.link(request.name), request.path)
    for at in range(0, len(entries), ENTRIES_AT_ONCE):
        await context.send(Listing(entries[at : at + ENTRIES_AT_ONCE]))


async def make_directory(backend: Backend, request: MakeDirectory, context: CallContext) -> None:
    link = await backend.link(request.name)
    await agent.make_directory(link, request.path, mode=request.mode, user=request.user)
