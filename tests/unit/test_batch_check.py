"""What is said of files that are wrong, compared with what is kept in golden/batch.

``NAME.bgr`` is checked, ``NAME.txt`` is what is said of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.batch_examples import TOP, examples, write
from tests.unit.command_line import Cli

GOLDEN = Path(__file__).parent / "golden" / "batch"
FILES = sorted(path.name for path in GOLDEN.glob("*.bgr") if path.with_suffix(".txt").exists())


@pytest.mark.parametrize("name", FILES)
def test_errors_are_as_they_were(name: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    assert cli("run", "--check", name) == 2
    assert cli.out == ""
    assert cli.err == (GOLDEN / name).with_suffix(".txt").read_text()


@pytest.mark.parametrize("page", ["batch.md", "usage.md"])
def test_the_examples_are_right(
    page: str, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = examples(page)
    write(found)
    for example in found:
        assert cli("run", "--check", example.name, *example.arguments) == 0, cli.err


@pytest.mark.parametrize("path", sorted((TOP / "examples").glob("*.bgr")), ids=lambda p: p.name)
def test_the_files_of_examples_are_right(path: Path, cli: Cli) -> None:
    assert cli("run", "--check", str(path), "demo") == 0, cli.err


def test_every_form_of_the_language_has_an_example() -> None:
    written = "".join(example.text for example in examples("batch.md"))
    forms = "let capture parallel each end expect wait include defer --keep-going --code --output"
    for form in [*forms.split(), "--match", "--timeout", "--every", "${1}", "${env:", "\\\n", "#!"]:
        assert form in written, form
