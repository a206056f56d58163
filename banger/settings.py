"""Reads the settings: defaults, then ``config.toml``, then the environment, then flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from banger.kernel.errors import UsageError
from banger.model.settings import FORMER_KEYS, SETTINGS, Origin, Setting, Settings, variable

FILE_LIMIT_BYTES = 1 << 20
PLUGIN_PREFIX = "capabilities."


def parse_flags(items: Iterable[str]) -> dict[str, object]:
    """``KEY=VALUE`` as given on an argument line. Raises `UsageError`."""
    flags: dict[str, object] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set {item!r} is not KEY=VALUE")
        flags[key] = value
    return flags


def load_settings(
    path: Path,
    environ: Mapping[str, str],
    flags: Mapping[str, object] | None = None,
    *,
    plugins: Sequence[Setting] | None = None,
) -> Settings:
    """All settings. A missing file is an empty one. Raises `UsageError` naming the place.

    ``plugins`` are the rows of those in use. Sections of others, and all of them while none
    is known yet, are passed over: a plugin that is turned off keeps its settings.
    """
    rows = (*SETTINGS, *(plugins or ()))
    by_key = {setting.key: setting for setting in rows}
    owners = {_owner(setting.key) for setting in plugins or ()}
    found = {
        setting.key: Origin(setting.key, setting.default, "default", setting.help)
        for setting in rows
    }

    remarks: dict[str, str] = {}

    def put(key: str, value: object, origin: str) -> None:
        if key in FORMER_KEYS:
            former, key = key, FORMER_KEYS[key]
            remarks.setdefault(key, f"{origin}: {former!r} is now called {key!r}")
            if found[key].origin == origin:  # given by its new name as well
                return
        setting = by_key.get(key)
        if setting is None:
            if key.startswith(PLUGIN_PREFIX) and _owner(key) not in owners:
                # Of a plugin that is not known yet, is turned off or is not installed.
                return
            raise UsageError(
                f"{origin}: there is no setting {key!r}", hint="'banger config show' lists them"
            )
        try:
            checked = setting.check(value)
        except UsageError as error:
            raise UsageError(f"{origin}: {error.message}", hint=setting.help) from None
        found[key] = Origin(key, checked, origin, setting.help)

    for key, value in sorted(_read(path).items(), key=lambda item: item[0] in FORMER_KEYS):
        put(key, value, str(path))
    for key in (*by_key, *FORMER_KEYS):
        if variable(key) in environ:
            put(key, environ[variable(key)], variable(key))
    for key, value in (flags or {}).items():
        put(key, value, "--set")
    return Settings(found, tuple(remarks.values()))


def _owner(key: str) -> str:
    """The capability that a key ``capabilities.NAME.KEY`` belongs to."""
    return key.removeprefix(PLUGIN_PREFIX).rpartition(".")[0]


def _read(path: Path) -> dict[str, object]:
    import tomllib

    try:
        if not path.exists():
            return {}
        if path.stat().st_size > FILE_LIMIT_BYTES:
            raise UsageError(f"{path} is larger than {FILE_LIMIT_BYTES} bytes")
        with path.open("rb") as file:
            tree = tomllib.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} can't be read: {error}", hint="mend it or remove it") from None
    flat: dict[str, object] = {}
    for section, values in tree.items():
        if section in FORMER_KEYS:
            flat[section] = values
            continue
        if not isinstance(values, dict):
            raise UsageError(f"{path}: {section!r} stands outside of a [section]")
        for name, value in values.items():
            if isinstance(value, dict) and f"{section}." == PLUGIN_PREFIX:
                flat |= {f"{section}.{name}.{key}": inner for key, inner in value.items()}
            else:
                flat[f"{section}.{name}"] = value
    return flat
