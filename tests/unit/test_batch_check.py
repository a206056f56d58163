"""What is said of files that are wrong, compared with what is kept in golden/batch.

``NAME.bgr`` is checked, ``NAME.txt`` is what is said of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.batch_examples import TOP, examples, write
from tests.unit.command_line import Cli

GOLDEN = Path(__file__).parent / "golden" / "batch"
FILES = sorted(path.name for path in GOLDEN.glob("*.bgr") if path.with_suffix(".txt").exists())


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_errors_are_as_they_were(name: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    assert cli("run", "--check", name) == 2
    assert cli.out == ""
    assert cli.err == (GOLDEN / name).with_suffix(".txt").read_text()


@pytest.mark.parametrize("page", ["batch.md", "usage.md"])
def test_the_examples_are_right(page: str, cli: Cli) -> None:
    found = examples(page)
    write(found)
    for example in found:
        assert cli("run", "--check", example.name, *example.arguments) == 0, cli.err


@pytest.mark.parametrize("path", sorted((TOP / "examples").glob("*.bgr")), ids=lambda p: p.name)
def test_the_files_of_examples_are_right(path: Path, cli: Cli) -> None:
    assert cli("run", "--check", str(path), "demo") == 0, cli.err


_words = st.sampled_from(
    """vm image create show list exec set stop wait delete run events version doctor help --json
    --memory --label --all --for --help -- 512 a=b web ${1} ${2} ${late} Bad_1 -x '' "a b" . .state
    let each in end parallel expect wait capture defer = n --code 3""".split()
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(_words, max_size=7), max_size=6))
def test_any_words_are_checked_without_an_exception(cli: Cli, lines: list[list[str]]) -> None:
    text = "let late = capture vm show web\n" + "\n".join(" ".join(line) for line in lines)
    Path("any.bgr").write_text(text)
    assert cli("run", "--check", "any.bgr", "arg") in (0, 2)
    assert "internal error" not in cli.err


def test_every_form_of_the_language_has_an_example() -> None:
    written = "".join(example.text for example in examples("batch.md"))
    forms = "let capture parallel each end expect wait include defer --keep-going --code --output"
    for form in [*forms.split(), "--match", "--timeout", "--every", "${1}", "${env:", "\\\n", "#!"]:
        assert form in written, form
