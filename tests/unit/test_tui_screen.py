"""The full-screen view's lines: always of the terminal's size, and what is on them."""

from __future__ import annotations

import random

import msgspec
import pytest

from banger.kernel.message import Lost
from banger.model.event_text import Weight
from banger.model.events import HookProgress, OperationEnded, Recorded, StageStarted
from banger.model.stats import GuestDisk, GuestMemory, GuestUsage
from banger.model.vm import VmState
from banger.tui.keys import press
from banger.tui.model import Model, created
from banger.tui.screen import screen
from banger.tui.style import style
from banger.tui.table import SIGNS
from banger.tui.text import curve, cut, padded, width_of
from tests.unit.command_line import view
from tests.unit.test_tui_model import happened, keys, model_of, stats

MIB = 1 << 20


def shown(model: Model, width: int = 80, height: int = 24, tick: float = 0.0) -> str:
    """The screen an hour after the VMs were made; checked to fill the terminal exactly."""
    now = created(view("x")) + 3600
    lines = screen(model, width, height, now=now, tick=tick)
    assert len(lines) == height
    for line in lines:
        assert sum(width_of(text) for _, text in line) == width, line
        assert "".join(text for _, text in line).isprintable()
    return "\n".join("".join(text for _, text in line).rstrip() for line in lines)


def busy_model() -> Model:
    model = Model()
    model.connected(
        [
            view("web-1"),
            view("web-2", VmState.CRASHED),
            msgspec.structs.replace(view("db", VmState.STOPPED), pid=None, address=""),
        ]
    )
    guest = GuestUsage(
        61_000,
        [0.5, 0.25, 0.0],
        54,
        GuestMemory(200 * MIB, 150 * MIB, 0, 0),
        [GuestDisk("/", 4096 * MIB, 1024 * MIB, 3072 * MIB), GuestDisk("/root", 0, 0, 0)],
    )
    for at in range(3):
        model.put_stats(
            [
                msgspec.structs.replace(
                    stats("web-1", at, at * 0.25, sent=at * 2048, pss=100 * MIB), guest=guest
                )
            ]
        )
    model.take(happened(StageStarted("web-2", "start", "vmm")))
    model.take(happened(OperationEnded("web-2", "start", 12, "no\x1b[2J"), 2))
    model.take(happened(Lost(5), 3))
    return model


def test_the_table_at_80_by_24() -> None:
    text = shown(busy_model())
    lines = text.splitlines()
    assert lines[0].startswith(" banger  3 VMs  1 running, 1 stopped, 1 crashed")
    assert lines[0].endswith("100M in use")
    assert lines[1].split() == "NAME▴ STATE AGE ADDRESS CPU MEMORY DISK OUT/s IN/s".split()
    assert lines[2].split() == "db ○ stopped 1h - - -/256M 4.0K - -".split()
    assert lines[3].split() == ("web-1 ● running 1h 172.31.0.5 25% 100M/256M 4.0K 2.0K 0B".split())
    assert "2 want attention" in text
    assert "start failed after 12 ms: no?[2J" in text
    assert lines[-1].split()[:2] == ["s", "start"]
    assert lines[-1].endswith("q quit")


def test_a_stage_under_way_stands_for_the_state() -> None:
    model = busy_model()
    model.take(happened(StageStarted("web-2", "start", "root-disk"), 4))
    assert "◐ root-disk" in shown(model)


def test_every_state_has_a_sign_and_a_colour() -> None:
    under_way = {VmState.CREATING, VmState.STARTING, VmState.STOPPING, VmState.DELETING}
    assert set(SIGNS) == set(VmState) - under_way
    named = {name for name, _ in style().style_rules}
    assert {f"state.{state}" for state in VmState} <= named


def test_the_detail_view() -> None:
    model = busy_model()
    keys(model, "down", "enter")
    assert model.detail is not None
    model.detail.console.feed(b"[    0.5] hello\nlogin: \x1b[2J")
    text = shown(model)
    for part in (
        "─ web-1 ─",
        "state    ● running",
        "address  172.31.0.5",
        "driver   qemu (tcg), pid 4711",
        "cpu      25%",
        "100M of 256M",
        "↑ 2.0K/s ↓ 0B/s",
        "load 0.50, 54 procs, up 1m",
        "50M of 200M",
        "1.0G of 4.0G",
        "─ stages ─",
        "─ console ─",
        "[    0.5] hello",
        "login:",
    ):
        assert part in text, part
    model.drop("web-1")
    assert "web-1 is gone" in shown(model)


def test_a_question_a_notice_the_filter_and_the_daemon() -> None:
    model = busy_model()
    keys(model, "d")
    assert "delete db? its disk is removed" in shown(model)
    assert shown(model).endswith("y yes  any other key no")
    keys(model, "n", "/", "w")
    assert " filter: w" in shown(model)
    keys(model, *"nothing")
    assert "no VM fits the filter" in shown(model)
    keys(model, "enter")
    assert shown(model).splitlines()[0].startswith(" banger  3 VMs  filter: wnothing")
    keys(model, "escape")
    model.tell("it failed", Weight.TROUBLE)
    assert "it failed" in shown(model)
    assert "it failed" not in shown(model, tick=1e12)
    model.notice = None
    model.lost("bangerd has gone; waiting for it")
    assert "bangerd has gone; waiting for it" in shown(model).splitlines()[0]
    assert "b start bangerd" in shown(model)
    keys(model, "?")
    assert "look closely at a VM" in shown(model)


def test_no_vms() -> None:
    assert "no VMs; 'banger vm create' makes one" in shown(model_of())


@pytest.mark.parametrize("mode", ["table", "detail", "help", "filter", "question"])
def test_it_fills_every_terminal(mode: str) -> None:
    model = busy_model()
    model.put(view("x" * 63))
    model.put(view("ü", VmState.FAILED, label="y" * 100))
    model.take(happened(HookProgress("ü", "漢字" * 50, "h", "漢\x9b字" * 50), 9))
    keys(model, *{"detail": ["enter"], "help": ["?"], "filter": ["/"]}.get(mode, ["d"]))
    for width in (1, 39, 40, 41, 79, 80, 81, 120, 300):
        for height in (1, 7, 8, 9, 15, 16, 24, 70):
            shown(model, width, height)


def test_keys_at_random_never_break_it() -> None:
    chance = random.Random(7)
    pressed = [*"abdeghjklnoqrsxyGO/? ", "up", "down", "enter", "escape", "left", "right"]
    pressed += ["pageup", "pagedown", "home", "end", "backspace", "f1", "c-u", "tab"]
    model = busy_model()
    for number in range(3000):
        press(model, chance.choice(pressed), page=10)
        match number % 10:
            case 0:
                model.put(view(f"v{chance.randrange(9)}", chance.choice(list(VmState))))
            case 1:
                model.drop(f"v{chance.randrange(9)}")
            case 2 if number % 100 == 2:
                model.lost("gone")
            case 3:
                model.connected(list(model.vms.values()))
        if number % 5 == 0:
            shown(model, chance.randrange(30, 130), chance.randrange(5, 40))


def test_text() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("漢字漢字", 5) == "漢字…"
    assert (cut("ab", 0), cut("ab", 1), cut("ab", 2)) == ("", "…", "ab")
    assert padded("ab", 4, right=True) == "  ab"
    assert padded("漢字", 3) == "漢…"
    assert curve([0, 50, 100, 400], 100, 6) == "   ▄██"


def test_500_vms_stay_smooth() -> None:
    """Events and keys with 500 VMs cost less than a drawing has, many times over."""
    import time

    model = Model()
    model.connected([view(f"vm-{number:03}", VmState.STOPPED) for number in range(500)])
    begun = time.process_time()
    for seq in range(1, 51):
        model.take(Recorded(seq, 1.0, OperationEnded(f"vm-{seq:03}", "start", 1, "")))
        press(model, "down", page=10)
        shown(model)
    assert (time.process_time() - begun) / 50 < 0.1
