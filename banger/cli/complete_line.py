"""What a shell asks on each Tab, and how it is told. See `banger.cli.completion`."""

from __future__ import annotations

import re
import signal
from functools import cache

from banger.cli.complete import Candidate, complete
from banger.cli.names import LiveNames
from banger.cli.plugins import Plugins
from banger.cli.words import words_of
from banger.client.connection import Connection
from banger.client.interface import find_interface, remembered
from banger.client.launch import connect
from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Kind, Option
from banger.host.places import Places
from banger.kernel.errors import BangerError
from banger.model.requests.plugins import Interface

PATIENCE_S = 2.0
"""Then the process ends: a Tab without an answer is better than a shell that hangs."""

_SPECIAL = re.compile(r"([^A-Za-z0-9_@%+=:,./~-])")


def run(context: Context, *, shell: str, breaks: str, words: tuple[str, ...]) -> None:
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        _run(context, shell=shell, breaks=breaks, words=words)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _run(context: Context, *, shell: str, breaks: str, words: tuple[str, ...]) -> None:
    line = _words_of_line(words[0]) if shell == "bash" else list(words)
    *before, word = line or [""]
    try:
        connection = connect(context.session.places)
    except BangerError:
        connection = None
    plugins = Plugins(cache(lambda: _interface(connection, context.session.places)))
    found = complete(before, word, plugins, LiveNames(connection))
    if connection is not None:
        connection.close()
    for candidate in found:
        context.line(_told(candidate, shell, _cut(word, breaks) if shell == "bash" else 0))


def _interface(connection: Connection | None, places: Places) -> Interface:
    """Without a daemon what was known last: looking for plugins takes too long for a Tab."""
    return remembered(places) if connection is None else find_interface(connection)


def _words_of_line(line: str) -> list[str]:
    """Those after the program's name; the last is the one that the cursor is at."""
    found = words_of(line)
    words = [word.text for word in found]
    if not found or found[-1].end < len(line):
        words.append("")
    return words[1:] or [""]


def _cut(word: str, breaks: str) -> int:
    """bash takes what is behind these characters for a word of its own."""
    return max((word.rfind(char) for char in breaks if char in "=:"), default=-1) + 1


def _told(candidate: Candidate, shell: str, cut: int) -> str:
    """bash has no descriptions, and wants text as it is typed; the others quote by themselves."""
    match shell:
        case "bash":
            text = _SPECIAL.sub(r"\\\1", candidate.text[cut:])
            return text + " " * candidate.whole
        case "zsh":
            return f"{'whole' if candidate.whole else 'open'}\t{candidate.text}\t{candidate.help}"
        case _:
            return f"{candidate.text}\t{candidate.help}"


COMMAND = Command(
    path=("complete",),
    summary="Tell a shell what may come next in a line.",
    details="For the scripts of 'banger completion'. In bash the one word is the line up to the "
    "cursor; elsewhere they are its words, the last one that at the cursor.",
    run=run,
    arguments=(Argument("words", "The line, or its words.", many=True),),
    options=(
        Option(
            "shell",
            ("--shell",),
            "Which one asks.",
            Kind.CHOICE,
            choices=("bash", "zsh", "fish"),
            default="fish",
        ),
        Option("breaks", ("--breaks",), "bash's COMP_WORDBREAKS.", default=""),
    ),
    examples=("banger complete --shell zsh -- vm sho",),
)
