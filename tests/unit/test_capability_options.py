"""Fields of a struct become flags; values are checked and named in errors."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest

from banger.capabilities.options import Options, declarations, field_of, option, with_changes
from banger.kernel.errors import UsageError
from banger.model.command import Kind


class Sample(Options, frozen=True):
    enabled: Annotated[bool, option("Turn it on.", "--sample")] = False
    level: Annotated[int, option("How much.", ge=1, le=9)] = 1
    text: Annotated[str | None, option("What to say.", metavar="TEXT")] = None
    mode: Annotated[Literal["slow", "fast"], option("Which way.")] = "slow"
    ports: Annotated[list[str], option("A port.", "-p", "--publish")] = []

    def __post_init__(self) -> None:
        for port in self.ports:
            if not port.isdigit():
                raise ValueError(f"port {port!r} is not a number")


def test_flags_are_made_of_names_and_types() -> None:
    rows = {field_of("some-name", row): row for row in declarations("some-name", Sample)}
    assert rows["enabled"].flags == ("--sample",)
    assert rows["enabled"].off_flags == ("--no-sample",)
    assert rows["level"].flags == ("--some-name-level",)
    assert [rows[name].kind for name in ("enabled", "level", "text", "mode", "ports")] == [
        Kind.FLAG,
        Kind.NUMBER,
        Kind.TEXT,
        Kind.CHOICE,
        Kind.TEXT,
    ]
    assert rows["mode"].choices == ("slow", "fast")
    assert rows["ports"].many
    assert rows["ports"].flags == ("-p", "--publish")


def test_changes_keep_the_rest() -> None:
    before = Sample(level=3)
    after = with_changes("s", before, {"enabled": True, "ports": ["80"]}, Sample)
    assert after == Sample(enabled=True, level=3, ports=["80"])


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"level": 0}, r"--s-level 0: Expected `int` >= 1"),
        ({"level": "x"}, r"--s-level 'x': Expected `int`, got `str`"),
        ({"mode": "odd"}, r"--s-mode 'odd': Invalid enum value"),
        ({"ports": ["ssh"]}, "port 'ssh' is not a number"),
        ({"colour": 1}, "unknown field `colour`"),
    ],
)
def test_a_bad_value_is_named(changes: dict[str, object], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        with_changes("s", Sample(), changes, Sample)


class NoDefault(Options, frozen=True):
    name: Annotated[str, option("A name.")]


class NotAnnotated(Options, frozen=True):
    name: str = ""


class OddType(Options, frozen=True):
    table: Annotated[dict[str, str], option("A table.")] = {}


@pytest.mark.parametrize("bad", [NoDefault, NotAnnotated, OddType])
def test_a_field_that_can_be_no_flag_is_refused(bad: type[Options]) -> None:
    with pytest.raises(TypeError):
        declarations("bad", bad)
