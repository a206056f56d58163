"""Stacks: what is said of a wrong file, and what an apply does to VMs that are only remembered."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger.batch.problems import Problems, show
from banger.kernel.errors import BangerError
from banger.model.command import Kind, Option
from banger.model.requests.plugins import CapabilityOption, Interface
from banger.model.vm import VmState
from banger.stack.lines import KeyPlaces
from banger.stack.read import read_stack
from tests.unit.command_line import Cli, view
from tests.unit.fake_daemon import serving
from tests.unit.fake_vms import FakeVms

TOP = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden" / "stack"
INTERFACE = Interface(
    [
        CapabilityOption("nat", "enabled", Option("nat__enabled", ("--nat",), "", Kind.FLAG)),
        CapabilityOption("nat", "publish", Option("nat__publish", ("--publish",), "", many=True)),
    ],
    [],
    [],
)


@pytest.fixture
def vms(home: Path) -> Iterator[FakeVms]:
    fake = FakeVms()
    fake.images = {"debian"}
    with serving(home / "banger" / "bangerd.sock", fake.answer, fake.guest):
        yield fake
        fake.release.set()


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Stack:
    def __init__(self, cli: Cli) -> None:
        self._cli = cli

    def __call__(self, text: str, *words: str) -> int:
        Path("stack.toml").write_text(f'name = "shop"\n{text}')
        return self._cli("apply", "stack.toml", *words)

    @property
    def out(self) -> list[str]:
        return self._cli.out.splitlines()

    @property
    def err(self) -> list[str]:
        return self._cli.err.splitlines()


@pytest.fixture
def apply(cli: Cli) -> Stack:
    return Stack(cli)


# --- the file ---


def told(name: str) -> str:
    problems = Problems()
    try:
        _, source = read_stack(name, INTERFACE, problems)
    except BangerError as error:
        return f"{error}\n"
    return "".join(f"{line}\n" for line in show(problems, {source.name: source.lines}))


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("*.toml")))
def test_errors_are_as_they_were(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    assert told(name) == (GOLDEN / name).with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", sorted((TOP / "examples").glob("*.toml")), ids=lambda p: p.name)
def test_the_files_of_examples_are_right(path: Path) -> None:
    assert told(str(path)) == ""


_values: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["debian", "8G", "", "web", -1, 1, 512, 1 << 70, 1.5, True, "\0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["run", "command", "a", "nat", "publish"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)
_keys = st.sampled_from(
    "image vcpus memory disk labels options state depends_on health provision nonsense".split()
)


@given(st.dictionaries(st.sampled_from(["web", "db", "Bad"]), st.dictionaries(_keys, _values)))
def test_any_tables_are_read_without_an_exception(tables: dict[str, dict[str, Any]]) -> None:
    path = Path("any.toml")
    lines = ['name = "any"']
    for name, table in tables.items():
        lines.append(f"[vm.{name}]")
        lines += [f"{key} = {_toml(value)}" for key, value in table.items()]
    path.write_text("\n".join(lines))
    told(str(path))


def _toml(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return json.dumps(value)


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    Path("any.toml").write_text(text)
    told("any.toml")


def test_keys_are_found_in_their_lines() -> None:
    text = '''a = """
b = 1
"""
[x.y]
c.d = 1
[[x.z]]
e = 1
[[x.z]]
"e" = 2
[x.z.f]
g = [
  "h = 1",
]
'''
    places = KeyPlaces("t", text.splitlines())
    wanted = {
        ("a",): 1,
        ("x", "y"): 4,
        ("x", "y", "c", "d"): 5,
        ("x", "z", 0, "e"): 7,
        ("x", "z", 1, "e"): 9,
        ("x", "z", 1, "f", "g"): 11,
        ("x", "z", 1, "f", "nothing"): 10,
        ("b",): 1,
    }
    assert {key: places.at(key).line for key in wanted} == wanted


# --- applying ---

TWO = """
[defaults]
image = "debian"
labels = { app = "shop" }
[vm.web]
depends_on = ["db"]
memory = 512
[[vm.web.provision]]
run = "install web"
[vm.db]
health = { command = "ready", every = 0.01, timeout = 0.1 }
"""


def test_what_is_missing_is_created_in_order(apply: Stack, vms: FakeVms) -> None:
    assert apply(TWO, "--plan") == 0
    assert apply.out == [
        "create    db: image debian",
        "create    web: image debian, 512 MiB, after db",
        "provision web: 1 step",
    ]
    assert vms.log == []
    assert apply(TWO) == 0
    assert vms.log == [
        "create db",
        "exec db: sh -c ready",
        "create web",
        "exec web: sh -ec install web",
        "set web",
    ]
    assert vms.vms["web"].memory_mib == 512
    assert vms.vms["web"].labels["app"] == "shop"
    assert vms.vms["web"].labels["banger.stack"] == "shop"


def test_the_second_time_nothing_is_done(apply: Stack, vms: FakeVms) -> None:
    assert apply(TWO) == 0
    vms.log.clear()
    assert apply(TWO) == 0
    assert apply.out == ["stack shop is as 2 VMs of the file say"]
    assert vms.log == ["exec db: sh -c ready"]


def test_what_can_be_changed_live_is(apply: Stack, vms: FakeVms) -> None:
    assert apply(TWO) == 0
    vms.log.clear()
    assert apply(TWO.replace('app = "shop"', 'app = "new"').replace("install web", "more")) == 0
    assert vms.log == [
        "set db",
        "exec db: sh -c ready",
        "set web",
        "exec web: sh -ec more",
        "set web",
    ]
    assert {vm.labels["app"] for vm in vms.vms.values()} == {"new"}


def test_what_needs_a_stop_needs_its_flag(apply: Stack, vms: FakeVms) -> None:
    assert apply(TWO) == 0
    vms.log.clear()
    bigger = TWO.replace("512", "1024")
    assert apply(bigger) == 4
    wanted = "reshape   web: memory 512 MiB → 1024 MiB (not done without --restart)"
    assert apply.out == [wanted]
    assert vms.log == ["exec db: sh -c ready"]
    vms.log.clear()
    assert apply(bigger, "--restart") == 0
    assert vms.log == ["exec db: sh -c ready", "stop web", "set web", "start web"]
    assert vms.vms["web"].memory_mib == 1024
    assert apply(bigger) == 0


def test_what_needs_a_new_vm_needs_its_flag(apply: Stack, vms: FakeVms) -> None:
    vms.images.add("other")
    assert apply(TWO) == 0
    vms.log.clear()
    changed = TWO.replace("memory = 512", 'memory = 512\nimage = "other"')
    assert apply(changed) == 4
    assert vms.log == ["exec db: sh -c ready"]
    vms.log.clear()
    assert apply(changed, "--recreate") == 0
    assert vms.log == [
        "exec db: sh -c ready",
        "delete web",
        "create web",
        "exec web: sh -ec install web",
        "set web",
    ]
    assert vms.vms["web"].image == "other"


def test_vms_the_file_has_no_more_need_their_flag(apply: Stack, vms: FakeVms) -> None:
    assert apply(TWO + "[vm.old]\n") == 0
    assert apply(TWO) == 0
    assert apply.out == [
        "delete    old: the file does not have it any more (not done without --prune)"
    ]
    assert "old" in vms.vms
    assert apply(TWO, "--prune") == 0
    assert set(vms.vms) == {"web", "db"}


def test_others_vms_are_left_alone(apply: Stack, vms: FakeVms) -> None:
    vms.vms["db"] = view("db")
    vms.vms["web"] = view("web", VmState.RUNNING, **{"banger.stack": "other"})
    assert apply(TWO, "--recreate", "--prune") == 4
    assert [line.partition(" (")[0] for line in apply.err] == [
        "banger: VM 'db' exists already and is of no stack",
        "banger: VM 'web' exists already and is of the stack 'other'",
    ]
    assert vms.log == []


def test_images_that_are_not_there(apply: Stack, vms: FakeVms) -> None:
    assert apply(TWO.replace("debian", "none")) == 3
    assert apply.err == [
        f"banger: VM {name!r}: there is no image 'none' (see 'banger image list')"
        for name in ("db", "web")
    ]
    assert vms.log == []


def test_states(apply: Stack, vms: FakeVms) -> None:
    stopped = '[vm.a]\nstate = "stopped"\n'
    assert apply(stopped) == 0
    assert vms.vms["a"].state is VmState.STOPPED
    assert apply("[vm.a]\nmemory = 512\n") == 0
    assert (vms.vms["a"].state, vms.vms["a"].memory_mib) == (VmState.RUNNING, 512)
    assert apply(stopped + "memory = 300\n") == 0
    assert (vms.vms["a"].state, vms.vms["a"].memory_mib) == (VmState.STOPPED, 300)
    vms.vms["a"] = msgspec.structs.replace(vms.vms["a"], state=VmState.FAILED, reason="lost")
    assert apply(stopped) == 4
    assert apply(stopped, "--recreate") == 0


def test_what_does_not_depend_on_a_failure_goes_on(apply: Stack, vms: FakeVms) -> None:
    vms.failing.add("db")
    assert apply(TWO + '[vm.alone]\n[vm.last]\ndepends_on = ["web"]\n') == 1
    assert set(vms.vms) == {"alone"}
    assert sorted(apply.err) == [
        "banger: VM 'db' can't be made",
        "banger: VM 'last' is left alone: it needs 'web'",
        "banger: VM 'web' is left alone: it needs 'db'",
    ]


def test_unhealthy(apply: Stack, vms: FakeVms) -> None:
    vms.said["sh -c ready"] = ("no connection\n", 1)
    assert apply(TWO) == 1
    assert apply.err[0].startswith("banger: VM 'db' is not healthy after 0.1 s: no connection")
    assert "web" not in vms.vms
    assert apply(TWO) == 1
    vms.said.clear()
    assert apply(TWO) == 0


def test_a_step_that_fails_runs_again(apply: Stack, vms: FakeVms) -> None:
    vms.said["sh -ec install web"] = ("no network\n", 7)
    assert apply(TWO) == 1
    assert "web | no network" in apply.out
    assert apply.err == ["banger: VM 'web': step 1 of 1 (run install web): exit code 7"]
    del vms.said["sh -ec install web"]
    vms.log.clear()
    assert apply(TWO) == 0
    assert vms.log[-2:] == ["exec web: sh -ec install web", "set web"]


def test_the_files_of_steps_count(apply: Stack, vms: FakeVms) -> None:
    Path("set-up.sh").write_text("one")
    text = '[vm.a]\nprovision = [{ script = "set-up.sh" }]\n'
    assert apply(text) == 0
    first = vms.vms["a"].labels["banger.stack.provision"]
    assert vms.guest.files["/run/banger-provision"][1] == b"one"
    Path("set-up.sh").write_text("two")
    assert apply(text, "--plan") == 0
    assert apply.out == ["provision a: 1 step, its steps have changed"]
    assert apply(text) == 0
    assert vms.vms["a"].labels["banger.stack.provision"] != first


def test_interrupted_it_goes_on_the_next_time(apply: Stack, vms: FakeVms) -> None:
    vms.held.add("db")

    def interrupt() -> None:
        vms.holding.acquire(timeout=20)
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    assert apply(TWO) == 130
    interrupting.join()
    vms.held.clear()
    vms.release.set()
    vms.vms.clear()
    assert apply(TWO) == 0
    assert set(vms.vms) == {"db", "web"}


def test_the_document(apply: Stack, vms: FakeVms) -> None:
    assert apply(TWO, "--json", "--plan") == 0
    document = json.loads("\n".join(apply.out))
    assert document["stack"] == "shop"
    assert document["vms"][0] == {
        "name": "db",
        "actions": [{"verb": "create", "details": "image debian", "needs": None}],
        "done": False,
        "error": None,
    }
    assert apply("[vm.A]\n", "--json") == 2
    assert json.loads("\n".join(apply.out))["problems"][0]["line"] == 2


# --- stacks that are there ---


def test_list_show_down(apply: Stack, cli: Cli, vms: FakeVms) -> None:
    assert cli("stack", "list") == 0
    assert apply(TWO) == 0
    vms.vms["mine"] = view("mine")
    assert cli("stack", "list") == 0
    assert cli.out.splitlines()[1].split() == ["shop", "2", "2", "running"]
    assert cli("stack", "show", "shop") == 0
    assert [line.split()[:3] for line in cli.out.splitlines()[1:]] == [
        ["db", "0", "running"],
        ["web", "1", "running"],
    ]
    assert cli("stack", "show", "nosuch") == 3
    vms.log.clear()
    assert cli("stack", "down", "shop", "--keep") == 0
    assert vms.log == ["stop web", "stop db"]
    assert apply(TWO) == 0
    vms.log.clear()
    assert cli("stack", "down", "shop") == 0
    assert vms.log == ["delete web", "delete db"]
    assert set(vms.vms) == {"mine"}
