"""The documents agree with each other and with the command table."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from banger import docs
from banger.capabilities.command import commands_of as commands_of_plugin
from banger.capabilities.loader import find_capabilities
from banger.capabilities.options import declarations
from banger.cli.invocation import parse
from banger.cli.plugins import Plugins
from banger.cli.tree import Group
from banger.client.interface import from_program
from banger.commands.table import GROUPS, HIDDEN, MODULES, load
from banger.kernel.errors import UsageError

TOP = Path(__file__).resolve().parents[2]
PAGES = sorted([*TOP.glob("*.md"), *(TOP / "docs").glob("*.md"), *TOP.glob("plugins/*/README.md")])
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SEPARATORS = {"|", "||", "&&", ";", "&", ")"}
REDIRECTIONS = re.compile(r"\d?[<>]")

by_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: "-".join(page.relative_to(TOP).parts)
)


@pytest.mark.parametrize("name", docs.PAGES)
def test_generated_pages_are_fresh(name: str) -> None:
    page = (docs.DIRECTORY / name).read_text()
    assert page == docs.PAGES[name](), "run 'python -m banger.docs'"


@by_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        leads_to = page if not path else page.parent / path
        assert leads_to.exists(), f"{page.name} links to {target}"
        if anchor and leads_to.suffix == ".md":
            assert anchor in anchors(leads_to), f"{page.name} links to {target}"


@by_page
def test_commands_in_code_blocks_are_legal(page: Path) -> None:
    for line, words in command_lines(page):
        try:
            check(words)
        except UsageError as error:
            pytest.fail(f"{page.name}: {line!r}: {error}", pytrace=False)


@by_page
def test_commands_in_the_text_exist(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for words in re.findall(r"`banger((?: [a-z]+)+)", text):
        path = tuple(words.split())
        known = [*MODULES, *plugin_commands(), *((group,) for group in GROUPS)]
        assert any(path[: len(command)] == command for command in known), f"banger{words}"


@pytest.mark.parametrize("plugin", ["nat", "dns"])
def test_every_command_and_flag_of_a_plugin_is_on_its_page(plugin: str) -> None:
    text = (TOP / "plugins" / plugin / "README.md").read_text()
    (found,) = (item.found for item in find_capabilities() if item.name == plugin)
    assert found is not None
    for syntax, _ in commands_of_plugin(found):
        assert f"banger {' '.join(syntax.path)}" in text
        for option in syntax.options:
            assert any(flag in text for flag in option.flags), option.flags
    for option in declarations(plugin, found.options):
        assert any(flag in text for flag in option.flags), option.flags
    for setting in found.settings:
        assert f"`{setting.key}`" in text, setting.key


def test_every_command_is_in_the_guide() -> None:
    guide = (TOP / "docs/usage.md").read_text()
    for path in MODULES.keys() - HIDDEN:
        assert f"banger {' '.join(path)}" in guide
        for option in load(path).options:
            assert option.hidden or any(flag in guide for flag in option.flags), option.flags


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("banger vm list | head -1", [["vm", "list"]]),
        ("A=1 banger vm stop a > /dev/null && banger vm start a", ["vm stop a", "vm start a"]),
        ("tar c . | banger vm exec a -- sh -c 'tar x; ls'", [["vm", "exec", "a", "--", "sh"]]),
        ("address=$(banger vm show a --json | jq -r .address)", [["vm", "show", "a", "--json"]]),
        ("cat banger", []),
    ],
)
def test_commands_are_found_in_lines(line: str, commands: list[list[str] | str]) -> None:
    wanted = [words.split() if isinstance(words, str) else words for words in commands]
    found = list(commands_of(line))
    assert [words[: len(want)] for words, want in zip(found, wanted, strict=True)] == wanted


def test_a_wrong_flag_is_found() -> None:
    with pytest.raises(UsageError):
        check(["vm", "list", "--colour"])


@cache
def plugin_commands() -> list[tuple[str, ...]]:
    usable = (item.found for item in find_capabilities() if item.found is not None)
    return [syntax.path for found in usable for syntax, _ in commands_of_plugin(found)]


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def command_lines(page: Path) -> Iterator[tuple[str, list[str]]]:
    """The ``banger`` commands of a page: all lines of ``sh`` blocks, those of ``console``
    blocks that begin with a prompt."""
    for language, block in FENCE.findall(page.read_text()):
        if language not in ("sh", "console"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            typed = line.strip()
            if language == "console":
                if not typed.startswith(("$ ", "# ")):
                    continue
                typed = typed[2:]
            for words in commands_of(typed):
                yield line, words


def commands_of(line: str) -> Iterator[list[str]]:
    """What follows ``banger`` in each simple command of a shell line."""
    lexer = shlex.shlex(line.replace("$(", " ; "), posix=True, punctuation_chars="|&;)")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    command: list[str] = []
    for word in [*lexer, ";"]:
        if word not in SEPARATORS:
            command.append(word)
            continue
        while command and (re.match(r"[A-Za-z_]+=", command[0]) or command[0] in ("time", "if")):
            command.pop(0)
        if command and command[0] == "banger":
            yield command[1 : end_of_words(command)]
        command = []


def end_of_words(command: list[str]) -> int:
    """Where the redirections begin."""
    found = (at for at, word in enumerate(command) if REDIRECTIONS.match(word))
    return next(found, len(command))


def check(words: list[str]) -> None:
    """Raises `UsageError` for a command line that would not be understood."""
    with contextlib.suppress(Group):
        parse(words, Plugins(from_program))
