"""What keys do: to the model at once, to VMs by an action that is carried out elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from banger.kernel.errors import IllegalState
from banger.model.event_text import Weight
from banger.model.vm import Verb, VmState, guard
from banger.tui.model import Mode, Model, Question, Sort

FILTER_CHARACTERS = 60


@dataclass(frozen=True)
class Act:
    """Do this with the VM."""

    verb: Verb
    vm: str


@dataclass(frozen=True)
class Login:
    vm: str


@dataclass(frozen=True)
class StartDaemon:
    pass


@dataclass(frozen=True)
class Quit:
    pass


Action = Act | Login | StartDaemon | Quit

VERBS = {"s": Verb.START, "x": Verb.STOP, "d": Verb.DELETE}
CONFIRMED = {Verb.STOP, Verb.DELETE}


def press(model: Model, key: str, *, page: int) -> Action | None:
    """A key by its name in prompt-toolkit, or the character typed. ``page`` is its rows."""
    if key == "c-c":
        return Quit()
    if model.question is not None:
        return _answer(model, key)
    if model.typing:
        _type(model, key)
        return None
    if model.mode is Mode.HELP:
        model.mode = Mode.DETAIL if model.detail is not None else Mode.TABLE
        return None
    if _move(model, key, page) or _show(model, key):
        return None
    return _begin(model, key)


def _answer(model: Model, key: str) -> Action | None:
    question, model.question = model.question, None
    assert question is not None
    return Act(question.verb, question.vm) if key in ("y", "Y") else None


def _type(model: Model, key: str) -> None:
    match key:
        case "enter":
            model.typing = False
        case "escape":
            model.typing = False
            model.set_filter("")
        case "backspace" | "c-h":
            model.set_filter(model.filter[:-1])
        case "c-u":
            model.set_filter("")
        case "up" | "down":
            model.move(-1 if key == "up" else 1)
        case _ if len(key) == 1 and key.isprintable():
            model.set_filter((model.filter + key)[:FILTER_CHARACTERS])


def _move(model: Model, key: str, page: int) -> bool:
    steps = {
        **{"up": -1, "k": -1, "down": 1, "j": 1},
        **{"pageup": -page, "c-b": -page, "pagedown": page, "c-f": page},
        **{"home": -len(model.vms), "g": -len(model.vms)},
        **{"end": len(model.vms), "G": len(model.vms)},
    }
    if key not in steps:
        return False
    model.move(steps[key])
    return True


def _show(model: Model, key: str) -> bool:
    match key:
        case "enter" | "right" if model.mode is Mode.TABLE and model.current is not None:
            model.look_at(model.current.name)
        case "escape" | "left" | "backspace" | "q" if model.mode is Mode.DETAIL:
            model.leave()
        case "escape" if model.filter:
            model.set_filter("")
        case "/":
            model.mode, model.detail, model.typing = Mode.TABLE, None, True
        case "?" | "f1":
            model.mode = Mode.HELP
        case "e":
            model.with_news = not model.with_news
        case "o" | "O":
            sorts = list(Sort)
            step = 1 if key == "o" else -1
            model.sort_by(sorts[(sorts.index(model.sort) + step) % len(sorts)])
        case "r":
            model.sort_by(model.sort, reverse=not model.reverse)
        case _:
            return False
    return True


def _verb(key: str, state: VmState) -> Verb | None:
    if key == "p":
        return Verb.RESUME if state is VmState.PAUSED else Verb.PAUSE
    return VERBS.get(key)


def _begin(model: Model, key: str) -> Action | None:
    if key == "q":
        return Quit()
    if key == "b" and model.trouble:
        return StartDaemon()
    view = model.current
    if model.trouble or view is None:
        return None
    if key == "l":
        if view.state is not VmState.RUNNING:
            model.tell(f"{view.name} is {view.state}; only a running VM can be logged in to")
            return None
        return Login(view.name)
    verb = _verb(key, view.state)
    if verb is None:
        return None
    try:
        guard(view.name, view.state, verb)
    except IllegalState as error:
        model.tell(str(error), Weight.TROUBLE)
        return None
    if verb in CONFIRMED:
        model.question = Question(verb, view.name)
        return None
    return Act(verb, view.name)
