"""docs/plugins.md, the example and the API say the same."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from banger import capabilities, testing
from banger.capabilities import HOOKS, Check, CommandCall, GuestContribution, Host, Step, Vm
from banger.capabilities.capability import Capability
from banger.model.firewall import Rules

TOP = Path(__file__).resolve().parents[2]
EXAMPLE = TOP / "examples/banger-greet"
FILES = ("pyproject.toml", "banger_greet.py", "test_banger_greet.py")
PAGE = (TOP / "docs/plugins.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
LINES_MAX = 60


@pytest.mark.parametrize("name", FILES)
def test_the_page_has_the_example(name: str) -> None:
    assert (EXAMPLE / name).read_text() in [text for _, text in BLOCKS]


def test_the_example_is_short() -> None:
    texts = [(EXAMPLE / name).read_text() for name in FILES]
    assert sum(bool(line.strip()) for text in texts for line in text.splitlines()) < LINES_MAX


def test_the_example_passes_its_own_tests() -> None:
    environ = {**os.environ, "PYTHONPATH": str(EXAMPLE), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(
        argv, cwd=EXAMPLE, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_in_the_table(hook: str) -> None:
    parameters = Capability.__dict__[hook].__code__
    names = parameters.co_varnames[1 : parameters.co_argcount]
    assert f"| `{hook}({', '.join(names)})` |" in PAGE


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_tested(hook: str) -> None:
    """By name: when it is called, and that the kit finds what is wrong with one."""
    kit = (TOP / "tests/unit/test_testing_kit.py").read_text()
    behaviour = (TOP / "banger/testing/behaviour.py").read_text()
    assert f'("{hook}", "' in kit
    assert f'"{hook}": _' in kit
    assert f'"{hook}"' in behaviour or f"'{hook}'" in behaviour


@pytest.mark.parametrize("name", [*capabilities.__all__, *testing.__all__])
def test_every_public_name_is_mentioned(name: str) -> None:
    assert hasattr(capabilities, name) or hasattr(testing, name)
    assert re.search(rf"\b{name}\b", PAGE)


@pytest.mark.parametrize("found", [Host, GuestContribution, Step, Vm, Check, CommandCall, Rules])
def test_every_attribute_is_mentioned(found: type) -> None:
    public = {*vars(found), *found.__annotations__}
    for name in sorted(name for name in public if not name.startswith("_")):
        assert re.search(rf"`[^`\n]*\b{name}\b|^ *.*\b{name}[=.(]", PAGE, re.MULTILINE), name


@pytest.mark.parametrize("text", PYTHON)
def test_code_is_python_and_uses_what_is_there(text: str) -> None:
    tree = ast.parse(_in_a_function(text))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("banger."):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), alias.name


def _in_a_function(text: str) -> str:
    """Snippets may await."""
    return "async def snippet():\n" + textwrap.indent(text, "    ")
