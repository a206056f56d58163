"""Every error banger raises on purpose, in one hierarchy.

::

    BangerError                 exit  what went wrong
    ├── UsageError                 2  the request itself is wrong (you)
    ├── NotFound                   3  no VM, image or file of that name
    ├── Conflict                   4  the name or resource is taken
    │   └── IllegalState           4  the verb is not legal in the present state
    ├── HostNotReady               5  this machine lacks something (tool, right, image)
    │   └── CommandFailed          5  an external program failed; carries argv and stderr's tail
    ├── Busy                       1  a limit is reached; try again
    ├── Interrupted              130  whoever asked took it back
    ├── TimedOut                   1  a deadline passed
    ├── GuestError                 1  the guest or its agent failed or broke the protocol
    │   ├── CommandNotFound      127  the guest has no such program
    │   └── NotExecutable        126  the guest can't execute that program
    ├── VmmError                   1  the virtual machine monitor failed
    ├── CorruptRecord              1  a record on disk can't be read
    ├── ActorStopped               1  the actor asked has ended
    │   └── ActorDied              1  the actor crashed on this request
    ├── ConnectionLost             1  the other end of a socket went away
    └── ProtocolError              1  the other end sent something that is no frame of ours

``message`` says what failed, with the value; ``hint`` says what to do. Both are single
lines, fit to be shown to a user. Library code raises; only the edges print or exit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

ERROR_TEXT_LIMIT = 16 << 10
"""How many characters of an error's message or hint travel."""


class BangerError(Exception):
    """Base of all declared errors. Anything else that escapes is a bug."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(BangerError):
    """``word`` is the place among the words of a command of the one at fault, where known."""

    exit_code = 2
    word: int | None = None

    def __init__(self, message: str, *, hint: str = "", word: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.word = word


class NotFound(BangerError):
    exit_code = 3


class Conflict(BangerError):
    exit_code = 4


class IllegalState(Conflict):
    pass


class HostNotReady(BangerError):
    exit_code = 5


class CommandFailed(HostNotReady):
    """An external program exited non-zero.

    The message holds the argv as it can be pasted and the last line of stderr.
    """

    def __init__(
        self, argv: Sequence[str], returncode: int, stderr: str, *, hint: str = ""
    ) -> None:
        import shlex

        tail = stderr.strip().splitlines()[-1:] or ["no message"]
        ended = f"exit {returncode}" if returncode >= 0 else f"signal {-returncode}"
        super().__init__(f"{shlex.join(argv)}: {ended}: {tail[0]}", hint=hint)
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stderr = stderr


class Busy(BangerError):
    pass


class Interrupted(BangerError):
    exit_code = 130

    def __init__(self, message: str = "interrupted", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)


class TimedOut(BangerError):
    pass


class GuestError(BangerError):
    pass


class CommandNotFound(GuestError):
    exit_code = 127


class NotExecutable(GuestError):
    exit_code = 126


class VmmError(BangerError):
    pass


class CorruptRecord(BangerError):
    pass


class ActorStopped(BangerError):
    pass


class ActorDied(ActorStopped):
    pass


class ConnectionLost(BangerError):
    pass


class ProtocolError(BangerError):
    pass


class ErrorReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error as it travels over the socket and in ``--json`` output.

    ``kind`` is the class name; ``exit_code`` is what the command line exits with.
    """

    kind: str
    message: str
    hint: str
    exit_code: int

    @classmethod
    def of(cls, error: BangerError) -> ErrorReply:
        message, hint = _encodable(error.message), _encodable(error.hint)
        return cls(type(error).__name__, message, hint, error.exit_code)

    def to_error(self) -> BangerError:
        """The error again. A kind this version does not know becomes a plain BangerError."""
        for kind in _kinds(BangerError):
            if kind.__name__ == self.kind:
                error = BangerError.__new__(kind)
                BangerError.__init__(error, self.message, hint=self.hint)
                return error
        return BangerError(self.message, hint=self.hint)


class ErrorDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``--json`` prints instead of a result."""

    error: ErrorReply


def _encodable(text: str) -> str:
    """Cut to what fits a frame, and without the surrogates of file names that aren't UTF-8."""
    return text[:ERROR_TEXT_LIMIT].encode(errors="backslashreplace").decode()


def _kinds(root: type[BangerError]) -> list[type[BangerError]]:
    found = [root]
    for child in root.__subclasses__():
        found += _kinds(child)
    return found
