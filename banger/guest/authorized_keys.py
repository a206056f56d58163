"""Root's authorized_keys in a running guest: banger's own lines in it, and no others.

Keys are compared by their blob, so options and comments on a line do not matter. Read and
written through the agent; between the two, a line somebody adds in the guest would be lost.
Format: sshd(8), AUTHORIZED_KEYS FILE FORMAT.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from banger.guest import agent
from banger.guest.link import AgentLink
from banger.kernel.errors import GuestError, NotFound

PATH = "/root/.ssh/authorized_keys"
SIZE_LIMIT_BYTES = 1 << 20


def amended(text: bytes, wanted: Iterable[str], unwanted: Iterable[str]) -> bytes:
    """The file's text with the ``wanted`` public lines and without the ``unwanted`` ones."""
    gone = {_blob(public) for public in unwanted}
    lines = [line for line in text.splitlines(keepends=True) if not gone & _words(line)]
    for public in wanted:
        if not any(_blob(public) in _words(line) for line in lines):
            if lines and not lines[-1].endswith(b"\n"):
                lines[-1] += b"\n"
            lines.append(public.encode() + b"\n")
    return b"".join(lines)


def _blob(public: str) -> bytes:
    return public.split()[1].encode()


def _words(line: bytes) -> set[bytes]:
    """Of a line that authorizes a key; none of a comment's."""
    words = line.split()
    return set() if words and words[0].startswith(b"#") else set(words)


async def is_amended(link: AgentLink, wanted: Iterable[str], unwanted: Iterable[str]) -> bool:
    """Whether `amend` would have nothing to do. Raises as `amend` does."""
    text = await _read(link)
    return amended(text, wanted, unwanted) == text


async def amend(link: AgentLink, wanted: Iterable[str], unwanted: Iterable[str]) -> None:
    """Let root be entered with the ``wanted`` keys and not with the ``unwanted`` ones.

    Returns when the guest has it so. Raises `GuestError`, `UsageError` for a file that is
    none, `Busy`, `ConnectionLost`; the caller sets a deadline.
    """
    wanted, unwanted = list(wanted), list(unwanted)
    text = await _read(link)
    after = amended(text, wanted, unwanted)
    if after == text:
        return

    async def content() -> AsyncIterator[bytes]:
        yield after

    if not text:
        await agent.make_directory(link, PATH.rpartition("/")[0], mode=0o700, user="root")
    await agent.write_file(link, PATH, mode=0o600, user="root", size=len(after), content=content())
    if not await is_amended(link, wanted, unwanted):
        raise GuestError(f"{PATH} in the guest is not what was written to it")


async def _read(link: AgentLink) -> bytes:
    text = bytearray()
    try:
        async with agent.open_file(link, PATH) as (info, chunks):
            if info.size > SIZE_LIMIT_BYTES:
                raise GuestError(f"{PATH} in the guest has {info.size} bytes")
            async for data in chunks:
                text += data
                if len(text) > SIZE_LIMIT_BYTES:
                    raise GuestError(f"{PATH} in the guest has more bytes than it said")
    except NotFound:
        return b""
    return bytes(text)
