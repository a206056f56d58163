"""JSON Schemas of ``--json``, and documents that must fit them."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from banger.commands.table import HIDDEN, MODULES, load
from tests.documents import check_document
from tests.unit.command_line import Cli
from tests.unit.fake_daemon import serving
from tests.unit.test_cli import answer

DOCUMENTED = sorted(path for path in MODULES.keys() - HIDDEN if load(path).reply is not None)


@pytest.mark.parametrize("path", DOCUMENTED, ids=" ".join)
def test_schema_of_each(path: tuple[str, ...], cli: Cli) -> None:
    assert cli("schema", *path) == 0
    schema = json.loads(cli.out)
    jsonschema.Draft202012Validator.check_schema(schema)
    error = {"error": {"kind": "NotFound", "message": "no", "hint": "", "exit_code": 3}}
    check_document(path, [error] if load(path).streams else error)


def test_schema_of_all(cli: Cli) -> None:
    assert cli("schema") == 0
    schema = json.loads(cli.out)
    assert set(schema["commands"]) == {" ".join(path) for path in DOCUMENTED}
    jsonschema.Draft202012Validator.check_schema(schema)


def test_what_has_none(cli: Cli) -> None:
    assert cli("schema", "vm", "ssh") == 2
    assert cli("schema", "vm", "shw") == 2


@pytest.mark.parametrize(
    "line",
    [
        "version",
        "config show",
        "daemon status",
        "vm list",
        "vm show web-1",
        "vm show none",
        "vm stop web-1 web-2",
        "vm delete web-1 none",
        "vm exec web-1 --json -- ls",
        "vm exec web-1 web-2 --json -- ls",
        "vm logs web-1",
        "completion zsh",
        "help vm",
        "nonsense",
    ],
)
def test_real_documents(line: str, cli: Cli, home: Path) -> None:
    words = line.split()
    with serving(home / "banger" / "bangerd.sock", answer):
        cli(*words, *([] if "--json" in words else ["--json"]))
    assert cli.err == ""
    check_document(words, json.loads(cli.out))


def test_a_document_that_does_not_fit_is_found() -> None:
    with pytest.raises(jsonschema.ValidationError):
        check_document(["version"], {"versio": "1"})
