"""Stacks of real guests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.batch_examples import TOP
from tests.vm.instance import Instance


@pytest.fixture
def stack(tmp_path: Path, instance: Instance) -> Path:
    """The stack of the examples, in a directory of the test's own."""
    shutil.copytree(TOP / "examples" / "stack", tmp_path / "stack")
    return Path(shutil.copy(TOP / "examples" / "stack.toml", tmp_path))


def test_the_stack_of_the_examples(instance: Instance, stack: Path) -> None:
    before = instance.names()
    planned = instance.json("apply", "--plan", str(stack))
    assert [vm["name"] for vm in planned["vms"]] == ["shop-db", "shop-web"]
    assert instance.names() == before

    instance.run("apply", str(stack))
    read = instance.run("vm", "exec", "shop-web", "--", "cat", "/srv/www/index.html").stdout
    assert "The shop" in read
    again = instance.run("apply", str(stack)).stdout
    assert again == "stack shop is as 2 VMs of the file say\n"

    text = stack.read_text()
    stack.write_text(text.replace("memory = 512", "memory = 300").replace("hello", "good day"))
    held_back = instance.run("apply", str(stack), code=4).stdout
    assert "reshape   shop-db: memory 512 MiB → 300 MiB (not done without --restart)" in held_back
    assert "good day" in instance.sh("shop-db", "cat /srv/db/greeting")

    assert instance.json("stack", "list")[0]["states"] == {"running": 2}
    gone = instance.run("stack", "down", "shop").stdout
    assert gone == "shop-web deleted\nshop-db deleted\n"
    assert instance.names() == before


def test_shapes_and_pruning_of_stopped_vms(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "stack.toml"
    vm = '[vm.st-{}]\nstate = "stopped"\nmemory = {}\noptions.nat.enabled = true\n'
    file.write_text('name = "still"\n' + vm.format("a", 256) + vm.format("b", 256))
    instance.run("apply", str(file))
    file.write_text('name = "still"\n' + vm.format("a", 300))
    instance.run("apply", str(file), "--prune")
    assert instance.show("st-a")["memory_mib"] == 300
    assert "st-b" not in instance.names()
    instance.run("stack", "down", "still")
