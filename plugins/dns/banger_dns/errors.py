"""What this package raises on purpose."""

from __future__ import annotations


class DnsError(Exception):
    """Base. `message` says what failed, `hint` what to do; both are single lines."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CannotListen(DnsError):
    """An address can't be listened on: taken, absent, or not allowed."""


class Malformed(DnsError):
    """A packet that breaks the rules of its format."""


class UpstreamFailed(DnsError):
    """A resolver gave no usable answer.

    *ede* is the code of an Extended DNS Error, *answered* whether the resolver said so itself.
    """

    def __init__(self, message: str, *, ede: int, answered: bool = False) -> None:
        super().__init__(message)
        self.ede = ede
        self.answered = answered
