"""What fills the directory of a build: a recipe, or an import. Everything here blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from banger.kernel.errors import BangerError
from banger.model.image import ImageRecord


class Work(Protocol):
    label: str
    """What it is shown as: the recipe's name, or what is imported."""

    def check(self, known: ImageRecord | None) -> None:
        """Raise `Conflict` when the newest image of the name is none that this replaces."""
        ...

    def key(self) -> str:
        """Tells its inputs; "" when they are not known. Raises OSError, BangerError."""
        ...

    def argv(self, directory: Path) -> list[str]:
        """The program to run. Its stdout tells the steps, its stderr goes to the log."""
        ...

    def prepare(self, directory: Path) -> None:
        """Put into the new directory what the program does not."""
        ...

    def describe(self, directory: Path, record: ImageRecord) -> ImageRecord:
        """The record with what only this kind of work knows. Raises what reading raises."""
        ...

    def failure(
        self, directory: Path, argv: Sequence[str], code: int, words: str, hint: str
    ) -> BangerError:
        """What is raised when the program has failed."""
        ...
