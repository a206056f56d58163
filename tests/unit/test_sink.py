"""Colours and live drawing: on a terminal that wants them, nowhere else."""

from __future__ import annotations

import sys

import pytest

from banger.commands.colour import Colour, painted
from banger.commands.context import Context
from banger.commands.session import Session
from banger.commands.sink import KeptSink, ProcessSink
from banger.commands.vm_list import STATES, state_colour
from banger.model.vm import VmState


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


def able(sink: ProcessSink) -> tuple[bool, bool, bool]:
    return sink.live, sink.redraws, sink.colours


def test_on_a_terminal(on_terminal: pytest.MonkeyPatch) -> None:
    assert able(ProcessSink()) == (True, True, True)
    assert able(ProcessSink(live=False)) == (False, False, False)
    on_terminal.setenv("NO_COLOR", "")
    assert able(ProcessSink()) == (True, True, True)
    on_terminal.setenv("NO_COLOR", "1")
    assert able(ProcessSink()) == (True, True, False)
    on_terminal.setenv("TERM", "dumb")
    assert able(ProcessSink()) == (False, False, False)


def test_into_a_pipe(on_terminal: pytest.MonkeyPatch) -> None:
    on_terminal.setattr(sys.stdout, "isatty", lambda: False)
    assert able(ProcessSink()) == (True, False, False)


class Colourful(KeptSink):
    colours = True


def test_columns_stay_straight_with_colours() -> None:
    rows = [["a", "running"], ["long-name", "stopped"]]
    shown = {}
    for sink in (KeptSink(), Colourful()):
        with Session() as session, Context(session, sink, json=False) as context:
            context.table(["NAME", "STATE"], rows, state_colour)
            context.line("note", Colour.TROUBLE)
        shown[sink.colours] = sink.output
    coloured = shown[True]
    assert painted("running", Colour.GOOD) in coloured
    for colour in Colour:
        coloured = coloured.replace(f"\x1b[{colour}m", "")
    assert coloured == shown[False]
    assert shown[False].splitlines() == [
        "NAME       STATE",
        "a          running",
        "long-name  stopped",
        "note",
    ]


def test_states_under_way_are_busy() -> None:
    for state in VmState:
        under_way = state.endswith("ing") and state is not VmState.RUNNING
        assert (state_colour("STATE", state) is Colour.BUSY) == (
            under_way or state is VmState.PAUSED
        )
        assert state_colour("NAME", state) is Colour.PLAIN
    assert set(STATES) < set(VmState)
