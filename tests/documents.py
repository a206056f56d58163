"""Whether what ``--json`` printed fits the schema that ``banger schema`` tells of the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import jsonschema

from banger.cli.schema import schema_of
from banger.commands.table import MODULES, load


@cache
def _validator(path: tuple[str, ...]) -> jsonschema.Draft202012Validator:
    schema = json.loads(json.dumps(schema_of([load(path)])))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def check_document(words: Sequence[str], document: Any) -> None:
    """``words`` are the command line. Commands of plugins have no schema."""
    path = next((tuple(words[:n]) for n in (1, 2) if tuple(words[:n]) in MODULES), None)
    if path is None or load(path).reply is None:
        return
    found = document if load(path).streams else [document]
    for each in found:
        _validator(path).validate(each)
