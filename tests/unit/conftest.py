from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.command_line import NO_PLUGINS, Cli


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directories of the test's own; no daemon is ever started, and no plugins are there."""
    for kind in ("CONFIG_HOME", "STATE_HOME", "CACHE_HOME", "RUNTIME_DIR"):
        monkeypatch.setenv(f"XDG_{kind}", str(tmp_path))
    for variable in [name for name in os.environ if name.startswith("BANGER_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr("banger.client.launch.start", refuse_to_start)
    monkeypatch.setattr("banger.client.interface.from_program", lambda: NO_PLUGINS)
    return tmp_path


def refuse_to_start(*_: object) -> None:
    raise AssertionError("a daemon would have been started")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], home: Path) -> Cli:
    return Cli(capsys)
