"""Keys of the prompt beyond those of every line editor."""

from __future__ import annotations

from typing import Protocol

from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent

HELP = """\
Tab          complete; again: the next        F1           this help
Right, End   take the suggestion in grey      Ctrl-C       cancel the command in front, undone;
Up, Down     earlier lines                                 without one: drop the line
Ctrl-R       search in earlier lines          Ctrl-Z       send the command in front back
Ctrl-A/-E    begin, end of the line           Ctrl-L       clear the screen
Ctrl-W/-U    cut a word, the line's begin     Ctrl-D       leave, when the line is empty

vm create a &   runs in the background        use web-1    the VM of commands that name none
jobs, fg [N]    look at these, fetch one      web-1        the same
!ls             a command of the host         vm create ?  help, also: help vm create
"""


class Owner(Protocol):
    def interrupt(self) -> bool:
        """Cancel the command in front; False when there is none."""
        ...

    def send_back(self) -> None:
        """The command in front goes to the background."""
        ...


def bindings(owner: Owner) -> KeyBindings:
    keys = KeyBindings()

    @keys.add("c-c")
    @keys.add("<sigint>")
    def _(event: KeyPressEvent) -> None:
        if not owner.interrupt():
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    @keys.add("c-z")
    def _(event: KeyPressEvent) -> None:
        owner.send_back()

    @keys.add("f1")
    def _(event: KeyPressEvent) -> None:
        run_in_terminal(lambda: print(HELP))  # noqa: T201

    return keys
