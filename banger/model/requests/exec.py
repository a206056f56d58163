"""Commands in guests."""

from __future__ import annotations

from typing import Annotated

import msgspec

from banger.kernel.message import Request
from banger.model.names import VmName
from banger.model.requests.reply import Reply


class ExecResult(Reply, frozen=True):
    """``code`` is -1 when ``signal`` ended the command."""

    code: Annotated[int, msgspec.Meta(ge=-1, le=255)]
    signal: Annotated[int, msgspec.Meta(ge=0, le=64)]
    timed_out: bool


class Exec(Request[ExecResult], frozen=True, tag="vm.exec"):
    """stream: Output, ErrorOutput. feed: Input, EndOfInput, Resize, SendSignal."""

    name: VmName
    argv: Annotated[list[str], msgspec.Meta(min_length=1, max_length=4096)]
    env: dict[str, str] = {}
    cwd: str | None = None
    """None: what the VM's image says, else the user's home."""
    user: str = ""
    """"": whom the VM's image says, else root."""
    tty: bool = False
    rows: int = 24
    cols: int = 80
    timeout_s: Annotated[float, msgspec.Meta(ge=0, le=86400 * 365)] = 0
    """0: none."""


class Output(Reply, frozen=True, tag="out"):
    data: bytes


class ErrorOutput(Reply, frozen=True, tag="err"):
    data: bytes


class Input(Reply, frozen=True, tag="in"):
    data: bytes


class EndOfInput(Reply, frozen=True, tag="eof"):
    pass


class Resize(Reply, frozen=True, tag="resize"):
    rows: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    cols: Annotated[int, msgspec.Meta(ge=1, le=65535)]


class SendSignal(Reply, frozen=True, tag="signal"):
    number: Annotated[int, msgspec.Meta(ge=1, le=64)]


AnyFeed = Input | EndOfInput | Resize | SendSignal


AnyOutput = Output | ErrorOutput
