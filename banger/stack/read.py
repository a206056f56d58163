"""Reading a stack file: all that is wrong with it is told at once, with its field and line."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from banger.batch.problems import Place, Problems
from banger.batch.source import Source, check_text, read_source
from banger.commands.labels import parse_labels
from banger.kernel.errors import BangerError, UsageError
from banger.model.command import Kind
from banger.model.labels import LABELS_MAX
from banger.model.names import check_name
from banger.model.requests.plugins import Interface
from banger.model.sizes import show_size
from banger.model.vm import DISK_BYTES_MAX, DISK_BYTES_MIN
from banger.stack.definition import VMS_MAX, Health, Member, Stack, State, Step, VmTable
from banger.stack.labels import OWN
from banger.stack.lines import KeyPlaces
from banger.stack.lines import Path as Key

_TOP = ("name", "defaults", "vm")
_DEFAULTS = ("image", "vcpus", "memory", "disk", "labels", "options")
_TYPES: Mapping[tuple[Kind, bool], Any] = {
    (Kind.TEXT, False): str,
    (Kind.TEXT, True): list[str],
    (Kind.NUMBER, False): int,
    (Kind.NUMBER, True): list[int],
    (Kind.SECONDS, False): float,
    (Kind.SECONDS, True): list[float],
    (Kind.FLAG, False): bool,
    (Kind.CHOICE, False): str,
    (Kind.CHOICE, True): list[str],
}
"""Of an option's value, by its kind and whether there may be many."""


def read_stack(path: str, interface: Interface, problems: Problems) -> tuple[Stack, Source]:
    """The stack, which is only good for use when no problem was told.

    Raises the error of a file that can't be read at all.
    """
    source = read_source(path, path)
    reader = _Reader(source, interface, problems)
    return reader.stack(), source


class _Reader:
    def __init__(self, source: Source, interface: Interface, problems: Problems) -> None:
        self._source = source
        self._problems = problems
        self._places = KeyPlaces(source.name, source.lines)
        self._options = {(o.capability, o.field): o.option for o in interface.options}

    def stack(self) -> Stack:
        document = self._document()
        self._unknown(document, _TOP, ())
        name = document.get("name")
        if name is None and document:
            self._tell((), "the stack has no name", 'name = "..." stands at the top of the file')
        elif name is not None:
            self._check_name("stack", name, ("name",))
        defaults = self._table(document.get("defaults", {}), ("defaults",), _DEFAULTS)
        tables = self._vms(document, defaults)
        levels = self._levels({name: table.depends_on for name, table in tables.items()})
        members = {
            vm: Member(vm, tables[vm], levels[vm], self._digests(vm, tables[vm]))
            for vm in sorted(tables, key=lambda vm: levels[vm])
        }
        return Stack(str(name or ""), self._source.directory, members)

    def _document(self) -> dict[str, Any]:
        if not check_text(self._source, self._problems):
            return {}
        try:
            return tomllib.loads("\n".join(self._source.lines) + "\n")
        except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
            place, message = _syntax_error(self._source, str(error))
            self._problems.add(place, f"this is no TOML: {message}")
            return {}

    def _vms(self, document: dict[str, Any], defaults: dict[str, Any]) -> dict[str, VmTable]:
        vms = document.get("vm", {})
        if not isinstance(vms, dict):
            self._tell(("vm",), "'vm' is not a table", "each VM is one, [vm.NAME]")
            return {}
        if not vms and document:
            self._tell((), "the stack has no VM", "each is a table, [vm.NAME]")
        if len(vms) > VMS_MAX:
            self._tell(("vm",), f"{len(vms)} VMs are more than the {VMS_MAX} a stack can have")
            return {}
        for name in vms:
            self._check_name("VM", name, ("vm", name))
        fields = VmTable.__struct_fields__
        tables = {
            name: self._vm(name, self._table(table, ("vm", name), fields), defaults)
            for name, table in vms.items()
        }
        for name, table in tables.items():
            for other in table.depends_on:
                if other not in tables:
                    known = difflib.get_close_matches(other, tables, n=1)
                    hint = f"did you mean {known[0]!r}?" if known else ""
                    self._tell(
                        ("vm", name, "depends_on"), f"there is no VM {other!r} in the stack", hint
                    )
        return tables

    def _vm(self, name: str, given: dict[str, Any], defaults: dict[str, Any]) -> VmTable:
        merged = {**defaults, **given}
        for both in ("labels", "options"):
            merged[both] = {**defaults.get(both, {}), **given.get(both, {})}
        table = VmTable(**merged)
        key: Key = ("vm", name)
        if table.state == "stopped" and (table.provision or table.health):
            what = "provision" if table.provision else "health"
            self._tell((*key, what), f"a VM whose state is stopped can have no {what!r}")
        if len(table.labels) + len(OWN) > LABELS_MAX:
            self._tell((*key, "labels"), f"more than {LABELS_MAX - len(OWN)} labels")
        for label in OWN & set(table.labels):
            self._tell((*key, "labels", label), f"the label {label!r} is banger's own")
        return table

    # --- fields ---

    def _table(self, value: Any, key: Key, known: Iterable[str]) -> dict[str, Any]:
        """Those fields of a VM's table, or of the defaults, that are right."""
        if not isinstance(value, dict):
            self._tell(key, f"{_show(key)} is not a table")
            return {}
        self._unknown(value, known, key)
        found: dict[str, Any] = {}
        types = get_type_hints(VmTable, include_extras=True)
        for field in (field for field in known if field in value):
            path = (*key, field)
            match field:
                case "options":
                    found[field] = self._checked_options(value[field], path)
                case "provision":
                    found[field] = self._steps(value[field], path)
                case "health":
                    found[field] = self._struct(value[field], Health, path)
                case "state" if value[field] not in get_args(State):
                    states = " nor ".join(map(repr, get_args(State)))
                    self._tell(path, f"{_show(path)}: {value[field]!r} is neither {states}")
                case "labels":
                    found[field] = self._labels(value[field], path)
                case "image" if isinstance(value[field], str):
                    if self._check_name("image", value[field], path):
                        found[field] = value[field]
                case _:
                    converted = self._convert(value[field], types[field], path)
                    if converted is not None and (field != "disk" or self._disk(converted, path)):
                        found[field] = converted
        return {field: value for field, value in found.items() if value is not None}

    def _disk(self, text: str, key: Key) -> bool:
        try:
            size = VmTable(disk=text).disk_bytes or 0
        except UsageError as error:
            self._tell(key, f"{_show(key)}: {error.message}", error.hint)
            return False
        if not DISK_BYTES_MIN <= size <= DISK_BYTES_MAX:
            limits = f"{show_size(DISK_BYTES_MIN)} and {show_size(DISK_BYTES_MAX)}"
            self._tell(key, f"{_show(key)}: {text} is not within {limits}")
            return False
        return True

    def _labels(self, value: Any, key: Key) -> dict[str, str]:
        labels: dict[str, str] = {}
        for label, text in (self._convert(value, dict[str, Any], key) or {}).items():
            path = (*key, label)
            if self._convert(text, str, path) is None:
                continue
            try:
                labels |= parse_labels([f"{label}={text}"])
            except UsageError as error:
                self._tell(path, f"{_show(path)}: {error.message}", error.hint)
        return labels

    def _checked_options(self, value: Any, key: Key) -> dict[str, dict[str, Any]]:
        options = self._convert(value, dict[str, dict[str, Any]], key) or {}
        capabilities = {capability for capability, _ in self._options}
        good: dict[str, dict[str, Any]] = {}
        for capability, fields in options.items():
            if capability not in capabilities:
                self._no_such(
                    "capability with options", capability, capabilities, (*key, capability)
                )
                continue
            known = [field for name, field in self._options if name == capability]
            for field, given in fields.items():
                path = (*key, capability, field)
                option = self._options.get((capability, field))
                if option is None:
                    self._no_such(f"option of {capability!r}", field, known, path)
                    continue
                converted = self._convert(given, _TYPES[option.kind, option.many], path)
                if option.choices and converted is not None and converted not in option.choices:
                    choices = ", ".join(option.choices)
                    self._tell(path, f"{_show(path)}: {converted!r} is not one of {choices}")
                elif converted is not None:
                    good.setdefault(capability, {})[field] = converted
        return good

    def _steps(self, value: Any, key: Key) -> list[Step]:
        if not isinstance(value, list):
            hint = "each step is a table, [[vm.NAME.provision]]"
            self._tell(key, f"{_show(key)} is not a list of tables", hint)
            return []
        steps = []
        for number, item in enumerate(value):
            path = (*key, number)
            step = self._struct(item, Step, path)
            if step is None:
                continue
            given = [what for what in ("run", "script", "copy") if getattr(step, what) is not None]
            if len(given) != 1 or (step.copy is None) is not (step.to is None):
                hint = "either 'run', or 'script', or 'copy' together with 'to'"
                self._tell(path, f"{_show(path)} is no step", hint)
            steps.append(step)
        return steps

    def _struct(self, value: Any, kind: type[Any], key: Key) -> Any:
        if isinstance(value, dict):
            self._unknown(value, kind.__struct_fields__, key)
            value = {name: value[name] for name in value if name in kind.__struct_fields__}
        return self._convert(value, kind, key)

    def _convert(self, value: Any, kind: Any, key: Key) -> Any:
        """None, and a problem told, when the value is not of the kind."""
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            reason, _, where = str(error).partition(" - at `")
            path = (*key, *_below(where))
            said = reason.replace("`", "").replace(" | null", "")
            self._tell(path, f"{_show(path)}: {said[:1].lower()}{said[1:]}")
            return None

    # --- between VMs ---

    def _levels(self, depends: Mapping[str, list[str]]) -> dict[str, int]:
        """How high each VM stands above those it depends on. Tells of circles."""
        levels: dict[str, int] = {}
        left = {name: {d for d in others if d in depends} for name, others in depends.items()}
        level = 0
        while left:
            ready = [name for name, others in left.items() if not others - levels.keys()]
            if not ready:
                for name in left:
                    self._tell(
                        ("vm", name, "depends_on"),
                        f"VM {name!r} depends on itself, by way of {_circle(name, left)}",
                    )
                return levels | dict.fromkeys(left, level)
            levels |= dict.fromkeys(ready, level)
            left = {name: others for name, others in left.items() if name not in levels}
            level += 1
        return levels

    def _digests(self, vm: str, table: VmTable) -> dict[str, str]:
        digests: dict[str, str] = {}
        for number, step in enumerate(table.provision):
            for field in ("script", "copy"):
                path = getattr(step, field)
                if path is None:
                    continue
                try:
                    digests[path] = _file_digest(Path(self._source.directory, path))
                except BangerError as error:
                    key = ("vm", vm, "provision", number, field)
                    self._tell(key, f"{_show(key)}: {error.message}", error.hint)
        return digests

    # --- telling ---

    def _unknown(self, table: Mapping[str, Any], known: Iterable[str], key: Key) -> None:
        for name in table:
            if name not in known:
                self._no_such("key", name, known, (*key, name))

    def _no_such(self, what: str, name: str, known: Iterable[str], key: Key) -> None:
        near = difflib.get_close_matches(name, list(known), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        self._tell(key, f"{_show(key)}: there is no {what} {name[:80]!r}", hint)

    def _check_name(self, kind: str, name: Any, key: Key) -> bool:
        if self._convert(name, str, key) is None:
            return False
        try:
            check_name(kind, name)
        except UsageError as error:
            self._tell(key, error.message, error.hint)
            return False
        return True

    def _tell(self, key: Key, message: str, hint: str = "") -> None:
        self._problems.add(self._places.at(key), message, hint)


def _show(key: Key) -> str:
    """As it would be written in the file; numbers of steps count from 1."""
    text = ""
    for part in key:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _below(where: str) -> Key:
    """The path in msgspec's messages, like ``$[0].name``."""
    names = where.removeprefix("$").strip("`").replace("[", ".").replace("]", "").split(".")
    return tuple(
        int(name) if name.isdecimal() else name for name in names if name and name != "..."
    )


def _circle(name: str, left: Mapping[str, set[str]]) -> str:
    seen = [name]
    here = name
    while (here := sorted(other for other in left[here] if other in left)[0]) not in seen:
        seen.append(here)
    return ", ".join(map(repr, seen[1:] or [name]))


def _syntax_error(source: Source, message: str) -> tuple[Place, str]:
    """tomllib's message, and the place that it ends in; the end of the file where it has none."""
    text, _, at = message.partition(" (at ")
    found = re.search(r"line (\d+), column (\d+)", at)
    line, column = (int(found[1]), int(found[2])) if found else (max(1, len(source.lines)), 1)
    return Place(source.name, line, column), text[:1].lower() + text[1:]


def _file_digest(path: Path) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise UsageError(f"can't read {path}: {getattr(error, 'strerror', error)}") from None
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"{path} is not a regular file")
        return hashlib.file_digest(file, "sha256").hexdigest()
