"""What events, replies and keys make of the full-screen view's model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from banger.kernel.message import Lost
from banger.model.events import (
    OperationEnded,
    Recorded,
    StageFinished,
    StageStarted,
    VmGone,
    VmStateChanged,
)
from banger.model.stats import NetworkUsage, VmmUsage, VmStats
from banger.model.vm import Verb, VmState
from banger.tui.console import LINE_CHARACTERS, LINES, ConsoleTail
from banger.tui.keys import Act, Login, Quit, StartDaemon, press
from banger.tui.model import Mode, Model, Question, Refresh, Sort
from tests.unit.command_line import view

RUNNING, STOPPED = VmState.RUNNING, VmState.STOPPED


def model_of(*names: str, state: VmState = RUNNING) -> Model:
    model = Model()
    model.connected([view(name, state) for name in names])
    model.rows()
    return model


def happened(event: Any, seq: int = 1) -> Recorded:
    return Recorded(seq, 1.0, event)


def stats(name: str, at_s: float, cpu_s: float, sent: int = 0, pss: int = 1) -> VmStats:
    return VmStats(
        name=name,
        state=RUNNING,
        at_s=at_s,
        vcpus=1,
        memory_bytes=1,
        disk_bytes=1,
        disk_allocated_bytes=1,
        vmm=VmmUsage(7, cpu_s, 1, pss, 1, 1),
        network=NetworkUsage("tap-1", sent, 1, 0, 0),
        guest=None,
        guest_problem="",
    )


def keys(model: Model, *pressed: str) -> object:
    """What the last of them asks for."""
    action: object = None
    for key in pressed:
        action = press(model, key, page=10)
    return action


# --- events ---


def test_a_change_of_state_is_there_at_once_and_asked_after() -> None:
    model = model_of("a", "b")
    needed = model.take(happened(VmStateChanged("a", VmState.CRASHED, "signal 9")))
    assert (model.vms["a"].state, model.vms["a"].reason) == (VmState.CRASHED, "signal 9")
    assert needed == Refresh(frozenset({"a"}))


def test_a_new_vm_is_asked_after_and_one_that_is_gone_leaves() -> None:
    model = model_of("a", "b")
    assert model.take(happened(StageStarted("c", "create", "record"))).names == {"c"}
    assert model.take(happened(VmGone("a"))) == Refresh()
    assert model.rows() == ["b"]
    assert model.selected == "b"


def test_stages_are_shown_while_they_last() -> None:
    model = model_of("a")
    model.take(happened(StageStarted("a", "start", "vmm")))
    assert model.doing == {"a": "vmm"}
    assert model.take(happened(StageFinished("a", "start", "vmm", 1, ""))) == Refresh()
    model.take(happened(OperationEnded("a", "start", 1, "")))
    assert model.doing == {}


def test_missed_events_mean_a_new_list() -> None:
    assert model_of("a").take(happened(Lost(3))).everything


def test_a_lost_daemon_asks_nothing_more() -> None:
    model = model_of("a")
    keys(model, "d")
    model.lost("gone")
    assert model.question is None
    assert keys(model, "d") is None
    assert keys(model, "b") == StartDaemon()
    model.connected([])
    assert model.trouble == ""
    assert model.current is None


def test_the_selection_goes_to_the_next_when_its_vm_goes() -> None:
    model = model_of("a", "b", "c")
    model.select("b")
    model.drop("b")
    model.rows()
    assert model.selected == "c"
    model.drop("c")
    model.rows()
    assert model.selected == "a"
    model.drop("a")
    assert (model.rows(), model.current) == ([], None)
    model.put(view("d"))
    model.rows()
    assert model.selected == "d"


# --- rows ---


def test_statistics_become_rates_and_a_history() -> None:
    model = model_of("a")
    for at in range(3):
        model.put_stats([stats("a", float(at), at / 2, sent=at * 100)])
    assert model.usages["a"].cpu_percent == 50
    assert model.usages["a"].sent_bytes_s == 100
    assert list(model.history["a"]) == [50, 50]
    model.put_stats([stats("unknown", 1, 1)])
    assert "unknown" not in model.usages
    model.put(msgspec.structs.replace(model.vms["a"], state=STOPPED, pid=None))
    assert "a" not in model.usages


def test_sorting() -> None:
    model = model_of("a", "b", "c")
    for name, share in (("a", 0.1), ("b", 0.9), ("c", 0.5)):
        model.put_stats([stats(name, 0, 0, pss=1)])
        model.put_stats([stats(name, 1, share, pss=int(share * 10))])
    assert model.rows() == ["a", "b", "c"]
    for sort in (Sort.CPU, Sort.MEMORY):
        model.sort_by(sort)
        assert model.rows() == ["b", "c", "a"]
        model.sort_by(sort, reverse=True)
        assert model.rows() == ["a", "c", "b"]
    model.sort_by(Sort.NAME, reverse=True)
    assert model.rows() == ["c", "b", "a"]
    model.put(view("a", STOPPED))
    model.sort_by(Sort.STATE)
    assert model.rows() == ["b", "c", "a"]


def test_every_column_can_be_sorted_by_whatever_there_is() -> None:
    model = model_of("a", "b")
    model.put(msgspec.structs.replace(view("c"), address="", labels={"x": "1"}))
    seen = []
    for _ in Sort:
        keys(model, "o")
        seen.append(model.sort)
        assert set(model.rows()) == {"a", "b", "c"}
    assert set(seen) == set(Sort)
    keys(model, "O", "r")
    assert model.reverse


def test_addresses_sort_as_numbers() -> None:
    model = Model()
    for name, address in (("a", "10.0.0.10"), ("b", "10.0.0.9")):
        model.put(msgspec.structs.replace(view(name), address=address))
    model.sort_by(Sort.ADDRESS)
    assert model.rows() == ["b", "a"]


def test_filtering_by_words() -> None:
    model = Model()
    model.connected([view("web-1"), view("web-2", STOPPED), view("db", RUNNING, app="web")])
    keys(model, "/", *"web")
    assert model.rows() == ["db", "web-1", "web-2"]
    keys(model, *" RUN")
    assert model.rows() == ["db", "web-1"]
    keys(model, "backspace", "enter")
    assert (model.filter, model.typing) == ("web RU", False)
    keys(model, "escape")
    assert (model.filter, len(model.rows())) == ("", 3)


def test_keys_typed_into_the_filter_do_nothing_else() -> None:
    model = model_of("a")
    assert keys(model, "/", "d", "q", "x", "\x1b", "f1") is None
    assert model.filter == "dqx"
    assert (model.question, model.current) == (None, None)
    keys(model, "c-u")
    assert model.filter == ""
    keys(model, *("x" * 500))
    assert len(model.filter) == 60


def test_moving_scrolls() -> None:
    model = model_of(*(f"v{number:02}" for number in range(20)))
    assert model.visible(5)[0] == "v00"
    keys(model, "down", "j", "pagedown")
    assert model.visible(5) == [f"v{number:02}" for number in range(8, 13)]
    keys(model, "end")
    assert model.visible(5)[-1] == model.selected == "v19"
    keys(model, "up")
    assert model.visible(5)[-1] == "v19"
    keys(model, "home", "up")
    assert (model.selected, model.visible(5)[0]) == ("v00", "v00")
    assert model.visible(100) == model.rows()


# --- keys ---


@pytest.mark.parametrize(
    ("key", "state", "verb"),
    [("s", STOPPED, Verb.START), ("x", RUNNING, Verb.STOP), ("d", RUNNING, Verb.DELETE)],
)
def test_verbs(key: str, state: VmState, verb: Verb) -> None:
    model = model_of("a", state=state)
    if verb is Verb.START:
        assert keys(model, key) == Act(verb, "a")
        return
    assert keys(model, key) is None
    assert model.question == Question(verb, "a")
    assert keys(model, "n") is None
    assert model.question is None
    for answer in ("enter", "escape", key):
        assert keys(model, key, answer) is None
    assert keys(model, key, "y") == Act(verb, "a")


def test_one_key_pauses_and_resumes() -> None:
    assert keys(model_of("a"), "p") == Act(Verb.PAUSE, "a")
    assert keys(model_of("a", state=VmState.PAUSED), "p") == Act(Verb.RESUME, "a")
    assert keys(model_of("a", state=STOPPED), "p") is None


def test_what_is_not_legal_is_told() -> None:
    model = model_of("a", state=STOPPED)
    assert keys(model, "x") is None
    assert model.question is None
    assert model.notice is not None
    assert "can't stop VM 'a': it is stopped" in model.notice.text
    assert keys(model, "l") is None
    assert keys(model_of("a"), "l") == Login("a")


def test_leaving() -> None:
    model = model_of("a")
    assert keys(model, "q") == Quit()
    assert keys(model, "d", "c-c") == Quit()
    model = model_of("a")
    assert keys(model, "enter", "q") is None
    assert model.mode is Mode.TABLE
    assert keys(model, "?", "q") is None
    assert keys(model, "/", "c-c") == Quit()


def test_looking_closely() -> None:
    model = model_of("a", "b")
    model.take(happened(StageStarted("a", "start", "vmm")))
    model.take(happened(StageStarted("b", "start", "vmm"), 2))
    keys(model, "enter")
    assert model.detail is not None
    assert (model.mode, model.detail.vm) == (Mode.DETAIL, "a")
    assert [recorded.seq for recorded in model.detail.stages] == [1]
    model.take(happened(StageFinished("a", "start", "vmm", 1, ""), 3))
    assert [recorded.seq for recorded in model.detail.stages] == [1, 3]
    keys(model, "down")
    assert model.detail.vm == "b"
    keys(model, "?", "x")
    assert model.mode is Mode.DETAIL
    keys(model, "escape")
    assert plainly(model) == (Mode.TABLE, None)


def plainly(model: Model) -> tuple[Mode, object]:
    return model.mode, model.detail


@pytest.mark.parametrize("key", ["enter", "s", "x", "d", "l", "up", "end", "pagedown", "left"])
def test_no_key_needs_a_vm(key: str) -> None:
    model = model_of()
    assert keys(model, key) is None
    assert model.mode is Mode.TABLE


# --- the console ---


def test_the_console_is_made_harmless() -> None:
    tail = ConsoleTail()
    for byte in b"a\x1b[31mred\x1b[0m\r\n\x1b]0;title\x07b\x1b(B\ttab\x9b\xff\r\n 10%\r 99%\n$ ":
        tail.feed(bytes([byte]))
    assert tail.last(10) == ["ared", "b    tab\ufffd\ufffd", " 99%", "$ "]
    assert all(line.isprintable() for line in tail.last(10))
    assert tail.last(0) == []


def test_the_console_is_bounded() -> None:
    tail = ConsoleTail()
    for number in range(LINES + 10):
        tail.feed(b"%d\n" % number)
    tail.feed(b"x" * 1_000_000)
    lines = tail.last(10_000)
    assert len(lines) == LINES + 1
    assert len(lines[-1]) == LINE_CHARACTERS
