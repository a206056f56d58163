"""Batch files against a real daemon: the examples of the docs, failures, interruptions."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.batch_examples import TOP, examples, write
from tests.vm.instance import COMMAND_DEADLINE_S, Instance, wait_until


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(instance: Instance, text: str, *words: str, code: int = 0) -> tuple[str, str]:
    Path("t.bgr").write_text(text)
    done = instance.run("run", "t.bgr", *words, code=code)
    return done.stdout, done.stderr


def test_the_examples_of_the_docs_do_what_they_say(instance: Instance) -> None:
    before = instance.names()
    found = examples("batch.md")
    write(found)
    for example in found:
        instance.run("run", example.name, *example.arguments)
        assert instance.names() == before, example.name


def test_two_vms_of_the_examples_know_each_other(instance: Instance) -> None:
    before = instance.names()
    done = instance.run("run", str(TOP / "examples" / "pair.bgr"), "duo")
    assert "duo-left" in done.stdout
    assert instance.names() == before


def test_a_file_is_a_program(instance: Instance, directory: Path) -> None:
    program = directory / "program"
    program.write_text("#!/usr/bin/env -S banger run\nexpect --output ${1} version\n")
    program.chmod(0o755)
    path = f"{Path(instance.argv()[-1]).parent}:{instance.environ['PATH']}"
    environ = {**instance.environ, "PATH": path}
    for word, code in (("banger", 0), ("nonsense", 1)):
        argv = [str(program), word]
        done = subprocess.run(argv, env=environ, timeout=COMMAND_DEADLINE_S, check=False)
        assert done.returncode == code


def test_standard_input(instance: Instance) -> None:
    done = instance.run("run", "-", input="vm show nobody\n", code=3)
    assert done.stderr.startswith("banger: standard input:1: vm show nobody: ")


def test_a_failed_block_leaves_nothing(instance: Instance) -> None:
    before = instance.names()
    text = """
        parallel
            each n in 1 2
                vm create gone-${n} --no-start
            end
            vm create gone-3 --inject-fault agent:hang
            each n in 4
                wait --timeout 30 --match 'gone-1(.*\\n)*.*gone-3' vm list
                vm create gone-4 --no-start --inject-fault root-disk
            end
        end
    """
    _, err = run(instance, text, code=1)
    assert "t.bgr:9: vm create gone-4" in err
    assert "t.bgr:6: vm create gone-3 --inject-fault agent:hang: cancelled" in err
    assert "VM 'gone-1' is deleted again" in err
    wait_until(lambda: instance.names() == before, 20, "the end of the cancelled creation")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_undoes_and_runs_what_was_deferred(
    instance: Instance, number: signal.Signals, code: int
) -> None:
    before = instance.names()
    Path("t.bgr").write_text(
        """
        vm create outer --no-start
        defer vm delete outer
        parallel
            vm create inner --no-start
            vm create hung --inject-fault agent:hang
        end
        vm create never --no-start
        """
    )
    client = instance.start("run", "t.bgr")
    made = before | {"outer", "inner", "hung"}
    wait_until(lambda: instance.names() == made, 30, "the VMs of the file")
    client.send_signal(number)
    assert client.wait(30) == code
    wait_until(lambda: instance.names() == before, 20, "the end of the cancelled creation")


def test_a_dry_run_knows_what_there_is(instance: Instance) -> None:
    instance.create("there", "--no-start")
    text = (
        "vm create there\nvm start there\nvm create other-one --image none\ndefer vm delete there\n"
    )
    out, _ = run(instance, text, "--dry-run", code=4)
    assert [line.split("  t.bgr")[0].rstrip() for line in out.splitlines()] == [
        "create VM there",
        "! VM 'there' exists already",
        "change VM there: start",
        "create VM other-one",
        "! there is no image 'none'",
        "at the end, whatever happens:",
        "  delete VM there",
    ]
    assert instance.state("there") == "stopped"
    instance.run("vm", "delete", "there")


def test_the_overhead_is_small(instance: Instance) -> None:
    """5 ms a command is the aim, and what 'banger bench shell' shows; this only finds a blunder."""
    instance.create("shown", "--no-start")
    Path("t.bgr").write_text("vm show shown\n" * 200)
    begun = time.monotonic()
    done = instance.run("run", "t.bgr", "--json")
    whole = time.monotonic() - begun
    seconds = [json.loads(line).get("seconds", 0) for line in done.stdout.splitlines()]
    assert len(seconds) == 401
    assert whole / 200 < 0.05
    instance.run("vm", "delete", "shown")
