"""What the capability finds of the machine in these tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from banger_nat.conntrack import Connection


class Machine:
    """What the capability finds and does there."""

    def __init__(self, proc_sys: Path) -> None:
        self.uplinks: tuple[str, ...] = ("eth0",)
        self.searched: list[Callable[[Connection], bool]] = []
        """What connections were looked for to be forgotten."""
        self._root = proc_sys

    def __getitem__(self, sysctl: str) -> str:
        return (self._root / sysctl).read_text()

    def __setitem__(self, sysctl: str, value: str) -> None:
        path = self._root / sysctl
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value)

    def forget(self, needle: bytes, matches: Callable[[Connection], bool]) -> int:
        self.searched.append(matches)
        return 0
