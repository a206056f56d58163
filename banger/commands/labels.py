"""Labels on the argument line: ``KEY=VALUE`` to give one, the same or ``KEY`` to select by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from banger.commands.declare import Completion, Option
from banger.kernel.errors import UsageError
from banger.model.labels import LABELS_MAX, LabelKey, LabelValue

if TYPE_CHECKING:
    from banger.model.vm import VmView

NEW_LABEL = Option(
    "labels",
    ("--label",),
    "Give it a label.",
    metavar="KEY=VALUE",
    many=True,
    completion=Completion.LABEL,
)


class Selector(msgspec.Struct, frozen=True):
    """``value`` None: the label has to be there, whatever its value."""

    key: str
    value: str | None

    def __str__(self) -> str:
        return self.key if self.value is None else f"{self.key}={self.value}"

    def fits(self, view: VmView) -> bool:
        if self.value is None:
            return self.key in view.labels
        return view.labels.get(self.key) == self.value


def parse_labels(items: Iterable[str]) -> dict[str, str]:
    """``KEY=VALUE`` each. Raises `UsageError`."""
    labels: dict[str, str] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--label {item!r} is not KEY=VALUE")
        check_key(key)
        _check_value(value)
        if labels.setdefault(key, value) != value:
            raise UsageError(f"--label {key!r} is given twice: {labels[key]!r} and {value!r}")
    if len(labels) > LABELS_MAX:
        raise UsageError(f"{len(labels)} labels are more than the {LABELS_MAX} a VM can have")
    return labels


def parse_selectors(items: Sequence[str]) -> list[Selector]:
    """``KEY=VALUE`` or ``KEY`` each. Raises `UsageError`."""
    selectors = []
    for item in items:
        key, equals, value = item.partition("=")
        check_key(key)
        if equals:
            _check_value(value)
        selectors.append(Selector(key, value if equals else None))
    return selectors


def show_labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def check_key(key: str) -> str:
    """The key of a label, if it is a legal one. Raises `UsageError`."""
    if not _fits(key, LabelKey):
        raise UsageError(
            f"{key[:80]!r} is not a legal label key",
            hint="1 to 63 letters, digits and '_', '.', '/', '-', the first and last a letter or "
            "digit",
        )
    return key


def _check_value(value: str) -> None:
    if not _fits(value, LabelValue):
        raise UsageError(
            f"{value[:80]!r} is not a legal label value",
            hint="up to 128 letters, digits and '_', '.', '/', ':', '@', '+', '-'",
        )


def _fits(text: str, kind: Any) -> bool:
    try:
        msgspec.convert(text, kind)
    except msgspec.ValidationError:
        return False
    return True
