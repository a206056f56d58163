"""Commands that are not really run: they are recorded, and answered as a test wants it."""

from __future__ import annotations

from collections.abc import Sequence

from banger.capabilities.host import CommandResult
from banger.kernel.errors import BangerError

Answer = CommandResult | BangerError

NOTHING = CommandResult(0, b"", b"")


class Programs:
    """What nothing was said about ends with 0 and writes nothing."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []
        """The argument lists, in order."""
        self.fed: list[bytes] = []
        """Their stdin, likewise."""
        self._answers: list[tuple[tuple[str, ...], Answer]] = []

    def answer(
        self, *words: str, code: int = 0, stdout: bytes | str = b"", stderr: bytes | str = b""
    ) -> None:
        """Commands that begin with these words end so. What was said last counts first."""
        self._answers.append((words, CommandResult(code, _bytes(stdout), _bytes(stderr))))

    def refuse(self, *words: str, error: BangerError) -> None:
        """They raise it: `HostNotReady` when the program is missing, `TimedOut` …"""
        self._answers.append((words, error))

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> CommandResult:
        """Raises what `refuse` was told, and TypeError for what is no argument list."""
        if isinstance(argv, str) or not argv or not all(isinstance(word, str) for word in argv):
            raise TypeError(f"{argv!r} is no list of words: ['ip', 'link'], not 'ip link'")
        words = tuple(argv)
        self.ran.append(words)
        self.fed.append(stdin)
        for beginning, answer in reversed(self._answers):
            if words[: len(beginning)] == beginning:
                if isinstance(answer, BangerError):
                    raise answer
                return answer
        return NOTHING


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text
