"""Pages of help: parts, widths, terms."""

from __future__ import annotations

import pytest

from banger.cli.page import WIDTH, Page
from banger.cli.parameters import usage_of
from banger.model.command import Kind, Option


def test_a_page_is_parts_with_empty_lines_between() -> None:
    page = Page()
    page.usage("banger vm list", "[OPTIONS] [NAMES...]")
    page.paragraph("List them.")
    page.paragraph("")
    page.lines("Examples", ["banger vm list", "banger vm list 'web-*'"])
    page.terms("Arguments", [])
    page.terms("Options", [("--json", "As JSON."), ("-a, --all", "All of them.")])
    assert page.text().split("\n") == [
        "Usage: banger vm list [OPTIONS] [NAMES...]",
        "",
        "  List them.",
        "",
        "  Examples:",
        "    banger vm list",
        "    banger vm list 'web-*'",
        "",
        "Options:",
        "  --json     As JSON.",
        "  -a, --all  All of them.",
    ]


def test_long_texts_are_wrapped_below_where_they_begin() -> None:
    page = Page()
    page.usage("banger", "WORD " * 20)
    page.paragraph("word " * 30)
    page.terms("Options", [("--flag", "word " * 30), ("--" + "x" * 40, "Long."), ("-x", "")])
    usage, paragraph, terms = (part.split("\n") for part in page.text().split("\n\n"))
    assert all(len(line) <= WIDTH for line in (*usage, *paragraph, *terms))
    assert usage[1].startswith(" " * len("Usage: banger ") + "WORD")
    assert len(paragraph) == 2 and all(line.startswith("  word") for line in paragraph)
    assert terms[1].index("word") == terms[2].index("word") == terms[-2].index("Long.") == 34
    assert terms[-3:] == ["  --" + "x" * 40, " " * 34 + "Long.", "  -x"]


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (Option("all", ("--all", "-a"), "", Kind.FLAG), "-a, --all"),
        (Option("rm", ("--rm",), "", Kind.FLAG, off_flags=("--no-rm",)), "--rm / --no-rm"),
        (Option("user", ("-u", "--user"), "", metavar="USER"), "-u, --user USER"),
        (Option("count", ("--count",), "", Kind.NUMBER), "--count N"),
        (Option("wait", ("--wait",), "", Kind.SECONDS), "--wait SECONDS"),
        (Option("text", ("--text",), ""), "--text TEXT"),
        (Option("way", ("--way",), "", Kind.CHOICE, choices=("in", "out")), "--way [in|out]"),
    ],
)
def test_how_an_option_is_written(option: Option, text: str) -> None:
    assert usage_of(option) == text
