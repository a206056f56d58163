"""Running batch files: against a daemon whose VMs are only remembered."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banger.cli.invocation import parse
from banger.cli.plugins import Plugins
from banger.commands.context import Context
from banger.commands.session import Session
from banger.commands.sink import KeptSink
from banger.kernel.errors import Interrupted
from tests.unit.command_line import Cli, view
from tests.unit.fake_daemon import serving
from tests.unit.fake_vms import FakeVms


@pytest.fixture
def vms(home: Path) -> Iterator[FakeVms]:
    fake = FakeVms()
    with serving(home / "banger" / "bangerd.sock", fake.answer, fake.guest):
        yield fake
        fake.release.set()


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Runner:
    def __init__(self, cli: Cli) -> None:
        self._cli = cli

    def __call__(self, text: str, *words: str) -> int:
        Path("t.bgr").write_text(text)
        return self._cli("run", "t.bgr", *words)

    @property
    def out(self) -> list[str]:
        return self._cli.out.splitlines()

    @property
    def err(self) -> list[str]:
        return self._cli.err.splitlines()

    def events(self, text: str, *words: str) -> list[dict[str, Any]]:
        self(text, "--json", *words)
        assert self._cli.err == ""
        return [json.loads(line) for line in self.out]


@pytest.fixture
def run(cli: Cli) -> Runner:
    return Runner(cli)


def test_the_first_failure_ends_the_run_with_its_code(run: Runner, vms: FakeVms) -> None:
    assert run("vm create a --no-start\nvm show b\nvm create c --no-start\n") == 3
    assert run.err == ["banger: t.bgr:2: vm show b: there is no VM 'b'"]
    assert list(vms.vms) == ["a"]


def test_nothing_runs_when_anything_is_wrong(run: Runner, vms: FakeVms) -> None:
    assert run("vm create a --no-start\nvm crate b\n") == 2
    assert vms.log == []


def test_deferred_commands_run_last_first_whatever_happens(run: Runner, vms: FakeVms) -> None:
    text = "vm create a --no-start\ndefer vm delete a\ndefer vm set a --label x=y\n"
    assert run(text + "vm show nobody\n") == 3
    assert vms.log == ["create a", "set a", "delete a"]


def test_a_deferred_command_that_fails_gives_the_code_and_lets_others_run(
    run: Runner, vms: FakeVms
) -> None:
    assert run("vm create a --no-start\ndefer vm delete a\ndefer vm show b\n") == 3
    assert run.err == ["banger: t.bgr:3: vm show b: there is no VM 'b'"]
    assert vms.log == ["create a", "delete a"]


def test_what_is_captured_is_used(run: Runner, vms: FakeVms) -> None:
    vms.said["hostname"] = ("web.vm\n\n", 0)
    text = """
        vm create a
        let state = capture vm show a --json .state
        let host = capture vm exec a -- hostname
        let said = capture vm exec a --json -- hostname .stdout
        vm set a --label state=${state} --label host=${host}
        expect --output running vm list --label state=${state}
    """
    assert run(text) == 0
    assert vms.vms["a"].labels == {"state": "running", "host": "web.vm"}


def test_a_path_that_leads_nowhere(run: Runner, vms: FakeVms) -> None:
    assert run("vm create a\nlet x = capture vm show a --json .addres\n") == 1
    assert "there is no 'addres' in the document (its fields: " in run.err[0]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("expect vm show a", ""),
        ("expect --code 3 --output nobody vm show nobody", ""),
        ("expect --match '^name +a$' --output debian vm show a", ""),
        ("expect --code 3 vm show a", "exit code 0, not 3"),
        ("expect --code 4 vm show nobody", "there is no VM 'nobody'"),
        ("expect --output tree vm show a", "its output has no 'tree'"),
        ("expect --match '^debian' vm show a", "its output does not match '^debian'"),
    ],
)
def test_expectations(run: Runner, vms: FakeVms, line: str, complaint: str) -> None:
    code = run(f"vm create a\n{line}\n")
    assert (code != 0) is bool(complaint)
    assert [text.endswith(complaint) for text in run.err[-1:]] == [True] * bool(complaint)


def test_waiting_for_a_command(run: Runner, vms: FakeVms) -> None:
    text = "wait --timeout 5 --every 0.01 vm show a\n"
    timer = threading.Timer(0.1, lambda: vms.vms.update(a=vms._create(_create_request("a"))))
    timer.start()
    assert run(text) == 0
    timer.join()
    assert run("wait --timeout 0.05 --every 0.01 vm show b\n") == 3
    assert "not within 0.05 s: there is no VM 'b'" in run.err[-1]
    assert run("let n = capture vm list\nwait --timeout 60 vm show '${n}x y'\n") == 2


def _create_request(name: str) -> Any:
    from banger.model.requests.vms import CreateVm

    return CreateVm(name=name)


def test_a_command_that_hangs_is_ended_at_the_end_of_the_wait(run: Runner, vms: FakeVms) -> None:
    vms.held.add("a")
    assert run("wait --timeout 0.2 vm create a\n") == 1
    assert "it has not ended after 0.2 s" in run.err[-1]


def test_a_branch_that_fails_undoes_its_block(run: Runner, vms: FakeVms) -> None:
    vms.failing.add("c")
    text = """
        vm create before
        parallel
            vm create a
            each n in b1 b2
                vm create ${n}
                vm set ${n} --label x=y
            end
            wait --timeout 20 --every 0.01 --match 'b2 .*x=y' vm list
        end
    """
    assert run(text) == 0
    assert set(vms.vms) == {"before", "a", "b1", "b2"}
    failing = """
        parallel
            each n in d1 d2
                vm create ${n}
            end
            each n in c
                wait --timeout 20 --every 0.01 --output d1 --output d2 vm list
                vm create ${n}
            end
        end
        vm create never
    """
    assert run(failing) == 1
    assert set(vms.vms) == {"before", "a", "b1", "b2"}
    assert run.err[0] == "banger: t.bgr:8: vm create c: VM 'c' can't be made"
    assert sorted(run.err[1:]) == [
        "banger: t.bgr:2: VM 'd1' is deleted again",
        "banger: t.bgr:2: VM 'd2' is deleted again",
    ]


def test_the_others_are_cancelled(run: Runner, vms: FakeVms) -> None:
    vms.held.add("slow")
    vms.failing.add("bad")
    text = """
        parallel
            vm create slow
            each n in bad
                wait 0.2
                vm create bad
            end
        end
    """
    assert run(text) == 1
    assert "banger: t.bgr:3: vm create slow: cancelled" in run.err


def test_deferred_commands_of_a_block_run_before_it_is_undone(run: Runner, vms: FakeVms) -> None:
    text = """
        parallel
            each n in a
                vm create a
                defer vm delete a
                vm show nobody
            end
        end
    """
    assert run(text) == 3
    assert vms.log == ["create a", "delete a"]
    assert run.err == ["banger: t.bgr:6: vm show nobody: there is no VM 'nobody'"]


def test_keep_going_undoes_nothing(run: Runner, vms: FakeVms) -> None:
    vms.failing.add("b")
    text = "parallel --keep-going\neach n in a b c\nvm create ${n}\nend\nend\nvm create d\n"
    assert run(text) == 1
    assert set(vms.vms) == {"a", "c"}


def test_a_creation_that_ends_while_it_is_cancelled_is_undone(run: Runner, vms: FakeVms) -> None:
    vms.held.add("late")
    vms.stubborn.add("late")
    vms.failing.add("bad")

    def release() -> None:
        while "late" not in vms.vms:
            time.sleep(0.01)
        time.sleep(0.3)
        vms.release.set()

    releasing = threading.Thread(target=release)
    releasing.start()
    text = """
        parallel
            vm create late
            each n in bad
                wait --every 0.01 --output creating vm show late
                vm create bad
            end
        end
    """
    assert run(text) == 1
    releasing.join()
    assert vms.log == ["create late", "delete late"]
    assert vms.vms == {}


def test_vms_of_the_same_name_that_are_not_the_blocks_are_left_alone(
    run: Runner, vms: FakeVms
) -> None:
    vms.vms["other"] = view("other", app="web")
    assert run("parallel\nvm create other\nvm create mine --no-start\nend\n") == 4
    assert set(vms.vms) == {"other"}


def test_forks_are_undone_too(run: Runner, vms: FakeVms) -> None:
    text = """
        vm create first
        parallel
            each fork in copy-1
                vm fork first ${fork} copy-2
                vm show nobody
            end
        end
    """
    assert run(text) == 3
    assert set(vms.vms) == {"first"}
    assert run(text.replace("vm create first", "").replace("nobody", "copy-2")) == 0
    assert {name: vm.labels for name, vm in vms.vms.items()} == {
        "first": {},
        "copy-1": {},
        "copy-2": {},
    }


def test_marks_go_when_the_block_has_ended_well(run: Runner, vms: FakeVms) -> None:
    text = """
        parallel
            vm create a --label x=y
            parallel --keep-going
                vm create b
            end
            parallel
                vm create c
            end
        end
    """
    assert run(text) == 0
    assert [vms.vms[name].labels for name in "abc"] == [{"x": "y"}, {}, {}]
    vms.vms.clear()
    assert run(text.replace("        end\n    ", "vm create b\nend\n    ")) == 4
    assert vms.vms == {}


def test_ctrl_c_undoes_the_block_and_runs_what_was_deferred(run: Runner, vms: FakeVms) -> None:
    vms.held.add("slow")

    def interrupt() -> None:
        vms.holding.acquire(timeout=20)
        while "quick" not in vms.vms:
            pass
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    before = "vm create first\ndefer vm delete first\n"
    text = before + "parallel\nvm create slow\nvm create quick\nend\nvm create never\n"
    assert run(text) == 130
    interrupting.join()
    vms.release.set()
    assert vms.log[-2:] == ["delete quick", "delete first"]
    assert "banger: interrupted" in run.err


def test_output_that_nobody_reads_keeps_no_deferred_command_from_its_end(
    run: Runner, vms: FakeVms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr("banger.commands.sink.ProcessSink.out", broken)
        patch.setattr("banger.cli.run._drop_output", lambda: None)
        assert run("vm create a\n") == 1
        assert run("defer vm delete a\ndefer vm set a --label x=y\nvm list\n") == 1
    assert vms.log == ["create a", "set a", "delete a"]


def test_a_command_that_says_too_much(
    run: Runner, vms: FakeVms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banger.batch.execute.KEPT_BYTES_MAX", 1000)
    vms.said["yes"] = ("y\n" * 501, 0)
    assert run("vm create a\nlet x = capture vm exec a -- yes\n") == 1
    assert "it has said more than 1000 B" in run.err[0]
    vms.said["yes"] = ("y" * 900, 0)
    monkeypatch.setattr("banger.batch.run.VALUE_MAX", 800)
    assert run("let x = capture vm exec a -- yes\n") == 1
    assert "a value of 900 characters is more than the 800 allowed" in run.err[0]


def test_a_run_can_be_cancelled_from_another_thread(vms: FakeVms) -> None:
    vms.held.add("slow")
    Path("t.bgr").write_text(
        "vm create a\ndefer vm delete a\nparallel\nvm create slow\nend\nvm create never\n"
    )
    sink = KeptSink()
    with Session() as session:
        invocation = parse(["run", "t.bgr"], Plugins(session.interface))
        with Context(session, sink, json=False) as context:

            def cancel() -> None:
                vms.holding.acquire(timeout=20)
                context.cancel()

            cancelling = threading.Thread(target=cancel)
            cancelling.start()
            with pytest.raises(Interrupted):
                invocation.run(context)
            cancelling.join()
    assert vms.log == ["create a", "delete a"]
    assert "t.bgr:4: vm create slow: cancelled" in sink.errors


def test_a_dry_run(run: Runner, vms: FakeVms) -> None:
    assert run("vm create a --no-start\n") == 0
    text = """
        vm create a
        vm start a
        vm delete a
        vm start a
        parallel
            vm create b
            vm create c --no-start
        end
        vm set b --label x=y
        vm stop c
        expect --code 4 vm create b
        defer vm delete b
        let x = capture vm show b --json .address
        vm exec b -- ping ${x}
        vm delete ${x}
        version
    """
    assert run(text, "--dry-run") == 4
    assert [line.split("  t.bgr")[0].rstrip() for line in run.out] == [
        "create VM a",
        "! VM 'a' exists already",
        "change VM a: start",
        "delete VM a",
        "change VM a: start",
        "! there is no VM 'a'",
        "at once:",
        "  1: create VM b",
        "  2: create VM c: stopped",
        "change VM b: set",
        "change VM c: stop",
        "! can't stop VM 'c': it is stopped",
        "create VM b",
        "look b",
        "use VM b: exec",
        "delete VM ${x}",
        "look: Show the version",
        "at the end, whatever happens:",
        "  delete VM b",
    ]
    assert vms.log == ["create a"]


def test_events(run: Runner, vms: FakeVms) -> None:
    text = "vm create a\nlet s = capture vm show a --json .state\nvm show b\ndefer vm list\n"
    told = run.events(text)
    assert [(e["event"], e.get("line"), e.get("code")) for e in told] == [
        ("begun", 1, None),
        ("done", 1, 0),
        ("begun", 2, None),
        ("done", 2, 0),
        ("begun", 3, None),
        ("failed", 3, 3),
        ("ended", None, 3),
    ]
    assert told[1]["result"]["name"] == "a"
    assert told[3]["value"] == "running"
    assert told[5]["error"]["kind"] == "NotFound"
    wrong = run.events("vm crate\n")
    assert [e["event"] for e in wrong] == ["problem", "ended"]
    planned = run.events("parallel\nvm delete a\nend\n", "--dry-run")
    assert planned[0]["changes"] == [{"verb": "delete", "kind": "VM", "name": "a"}]
    assert planned[0]["branch"] == [1]


def test_a_file_that_is_not_there(run: Runner, cli: Cli) -> None:
    assert cli("run", "none.bgr") == 3
    assert cli.err == "banger: there is no file none.bgr\n"
    assert cli("run", "none.bgr", "--json") == 3
    assert [json.loads(line)["event"] for line in cli.out.splitlines()] == ["failed", "ended"]


def test_check_needs_no_daemon(run: Runner, home: Path) -> None:
    assert run("vm create a --memory 512\nvm delete a\n", "--check") == 0
    assert run.out == []
    assert not (home / "banger").exists()
