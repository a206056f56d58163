"""When a VM ends by itself, on the argument line and as it is shown."""

from __future__ import annotations

import time
from datetime import datetime

from msgspec import UNSET, UnsetType

from banger.commands.declare import Kind, Option
from banger.kernel.errors import UsageError
from banger.model.durations import parse_duration, spell_duration
from banger.model.lifetime import LIFETIME_MAX_S, LifetimeChange, LifetimeView

TTL = Option(
    "ttl", ("--ttl",), "Delete the VM after this time, whatever it does then.", metavar="DURATION"
)
IDLE_STOP = Option(
    "idle_stop",
    ("--idle-stop",),
    "Stop it when it was not used for so long.",
    metavar="DURATION",
)
NEW_LIFETIME = (
    Option("rm", ("--rm",), "Delete the VM as soon as it has stopped, or crashed.", Kind.FLAG),
    TTL,
    IDLE_STOP,
)
CHANGED_LIFETIME = (
    Option(
        "rm",
        ("--rm",),
        "Delete the VM as soon as it has stopped, or keep it.",
        Kind.FLAG,
        off_flags=("--no-rm",),
    ),
    Option(
        "ttl", ("--ttl",), "Delete it after this time from now; 'none': never.", metavar="DURATION"
    ),
    Option(
        "idle_stop",
        ("--idle-stop",),
        "Stop it when it was not used for so long; 'none': never.",
        metavar="DURATION",
    ),
)


def check_lifetime(*, rm: bool | None, ttl: str | None, idle_stop: str | None) -> LifetimeChange:
    """Raises `UsageError` naming the flag."""
    return LifetimeChange(
        remove=UNSET if rm is None else rm,
        ttl_s=_seconds("--ttl", ttl),
        idle_stop_s=_seconds("--idle-stop", idle_stop),
    )


def _seconds(flag: str, text: str | None) -> float | UnsetType | None:
    if text is None:
        return UNSET
    if text == "none":
        return None
    seconds = parse_duration(text)
    if not 1 <= seconds <= LIFETIME_MAX_S:
        raise UsageError(f"{flag} {text} is not within 1s and {spell_duration(LIFETIME_MAX_S)}")
    return seconds


def show_lifetime(lifetime: LifetimeView) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    if lifetime.rm:
        lines.append(("rm", "deleted when it has stopped"))
    if lifetime.expires_at is not None:
        left_s = datetime.fromisoformat(lifetime.expires_at).timestamp() - time.time()
        left = f"in {spell_duration(left_s)}" if left_s > 0 else "now"
        lines.append(("ttl", f"deleted at {lifetime.expires_at}, {left}"))
    if lifetime.idle_stop_s is not None:
        lines.append(("idle-stop", f"after {spell_duration(lifetime.idle_stop_s)} without use"))
    return lines
