"""Which VMs a command is for: names, patterns, labels, or all there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from banger.commands.context import Context
from banger.commands.declare import Argument, Completion, Kind, Option
from banger.commands.labels import Selector, parse_selectors
from banger.kernel.errors import NotFound, UsageError
from banger.model.names import check_name

if TYPE_CHECKING:
    from banger.model.vm import VmView

AT_ONCE = 8
AT_ONCE_MAX = 64

NAMES = Argument(
    "names",
    "Names of the VMs, or patterns like 'web-*'.",
    required=False,
    many=True,
    completion=Completion.VM,
)
ALL = Option("everything", ("--all",), "All VMs there are.", Kind.FLAG)
LABEL = Option(
    "labels",
    ("--label",),
    "Only VMs with this label, or with this value of it; several must all fit.",
    metavar="KEY[=VALUE]",
    many=True,
    completion=Completion.LABEL,
)
PARALLEL = Option(
    "parallel", ("--parallel",), "How many at the same time.", Kind.NUMBER, "N", AT_ONCE
)
SELECTION = (ALL, LABEL, PARALLEL)


class Selection(msgspec.Struct, frozen=True):
    """``listed`` are those of the VMs that were not named, but found by a rule."""

    names: list[str]
    listed: dict[str, VmView]


def select(
    context: Context, names: Sequence[str], *, everything: bool, labels: Sequence[str]
) -> Selection:
    """The VMs meant, each once. Names and patterns choose, labels choose among these.

    Plain names need not exist: their request fails then. Raises `UsageError` when nothing
    is said, `NotFound` for a pattern or labels that fit none.
    """
    check_names(names)
    selectors = parse_selectors(labels)
    if everything and names:
        raise UsageError(f"--all and the name {names[0]!r} contradict each other")
    if not (names or everything or selectors):
        raise UsageError(
            "no VM is named", hint="give names, patterns like 'web-*', --label KEY=VALUE or --all"
        )
    if not (everything or selectors or has_pattern(names)):
        return Selection(list(dict.fromkeys(names)), {})
    from banger.model.requests.vms import ListVms  # not loaded for a VM that is named

    views = {view.name: view for view in context.call(ListVms())}
    found = list(dict.fromkeys(_matching(names, views))) if names else list(views)
    # A name that is not there stays: its error tells.
    found = [name for name in found if name not in views or fits(views[name], selectors)]
    if not found and selectors:
        raise NotFound(
            f"no VM has the label {' and '.join(map(str, selectors))}",
            hint="'banger vm list --json' shows the labels",
        )
    if not found:
        context.note("there are no VMs")
    return Selection(found, {name: views[name] for name in found if name not in names})


def check_names(names: Iterable[str]) -> None:
    """Raise `UsageError` for what is neither a legal name nor a pattern."""
    for name in names:
        if not _is_pattern(name):
            check_name("VM", name)


def check_there(names: Iterable[str], views: Sequence[VmView]) -> None:
    """Raise `NotFound` for a name that is not there; a pattern may fit none."""
    for name in names:
        if not has_pattern([name]) and all(view.name != name for view in views):
            raise NotFound(f"there is no VM {name!r}", hint="'banger vm list' shows those there")


def check_parallel(parallel: int) -> None:
    if not 1 <= parallel <= AT_ONCE_MAX:
        raise UsageError(f"--parallel {parallel} is not within 1 and {AT_ONCE_MAX}")


def has_pattern(names: Iterable[str]) -> bool:
    return any(map(_is_pattern, names))


def _is_pattern(name: str) -> bool:
    return any(c in name for c in "*?[")


def fits(view: VmView, selectors: Iterable[Selector]) -> bool:
    return all(selector.fits(view) for selector in selectors)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a VM's name is one of these, or fits a pattern among them."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _matching(names: Iterable[str], there: Iterable[str]) -> Iterable[str]:
    for name in names:
        if not _is_pattern(name):
            yield name
            continue
        found = [other for other in there if fnmatchcase(other, name)]
        if not found:
            raise NotFound(
                f"no VM matches {name[:80]!r}", hint="'banger vm list' shows those there"
            )
        yield from found
