"""The error hierarchy, and errors on the wire."""

from __future__ import annotations

import re

import msgspec
import pytest

from banger.kernel import errors
from banger.kernel.errors import (
    ERROR_TEXT_LIMIT,
    ActorStopped,
    BangerError,
    CommandFailed,
    Conflict,
    ErrorReply,
    HostNotReady,
    IllegalState,
)

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BangerError)
]


def test_drawing_shows_every_error_with_its_exit_code() -> None:
    drawing = (errors.__doc__ or "").split("\n\n")[2]
    drawn = {name: int(code) for name, code in re.findall(r"(\w+) +(\d+)  ", drawing)}
    drawn.setdefault("BangerError", BangerError.exit_code)
    assert drawn == {kind.__name__: kind.exit_code for kind in KINDS}


def test_text_has_the_hint_when_there_is_one() -> None:
    assert str(BangerError("no", hint="try")) == "no (try)"
    assert str(BangerError("no")) == "no"


def make(kind: type[BangerError]) -> BangerError:
    if issubclass(kind, CommandFailed):
        return kind(["ip", "link"], 1, "oops", hint="look")
    return kind("it failed", hint="look")


@pytest.mark.parametrize("kind", KINDS)
def test_error_survives_the_wire(kind: type[BangerError]) -> None:
    error = make(kind)
    data = msgspec.msgpack.encode(ErrorReply.of(error))
    again = msgspec.msgpack.decode(data, type=ErrorReply).to_error()
    assert type(again) is kind
    assert (again.message, again.hint) == (error.message, error.hint)
    assert again.exit_code == error.exit_code
    assert str(again) == str(error)


def test_kind_of_another_version_becomes_the_plain_error() -> None:
    for kind in ("Invented", "", "Exception", "KeyboardInterrupt"):
        error = ErrorReply(kind, "no", "hint", 9).to_error()
        assert type(error) is BangerError
        assert (error.message, error.hint) == ("no", "hint")


def test_any_message_fits_the_wire() -> None:
    reply = ErrorReply.of(BangerError("file \udcff" + "x" * (2 << 20), hint="\ud800"))
    msgspec.msgpack.encode(reply)
    assert reply.message.startswith(r"file \udcffxxx")
    assert len(reply.message) <= ERROR_TEXT_LIMIT + len(r"\udcff")


def test_failed_command_can_be_pasted_and_tells_the_last_line() -> None:
    error = CommandFailed(["mkfs.ext4", "my disk"], 1, "one\ntwo \n\n")
    assert error.message == "mkfs.ext4 'my disk': exit 1: two"
    assert CommandFailed(["x"], -9, "").message == "x: signal 9: no message"
    assert error.argv == ("mkfs.ext4", "my disk")


def test_families() -> None:
    assert issubclass(CommandFailed, HostNotReady)
    assert issubclass(IllegalState, Conflict)
    assert issubclass(errors.ActorDied, ActorStopped)
