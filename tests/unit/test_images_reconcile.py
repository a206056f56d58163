"""What a daemon that starts puts right about the images it finds."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from banger.actors.images import GetDefault, ListImages, SetDefault
from banger.host.image_files import WORK_SEED
from banger.model.image import RECORD_VERSION, DefaultImage
from tests.unit.image_actor import GOOD, running


async def built(root: Path) -> Path:
    """The directory of an image that a daemon before this one has built, and made the default."""
    async with running(root) as before:
        before.recipe(GOOD)
        view = await before.build("old")
        await before.ref.ask(SetDefault("old"))
    return Path(view.path)


def record_of(image: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((image / "record.json").read_text())
    return document


async def test_records_of_former_versions_are_written_anew(tmp_path: Path) -> None:
    image = await built(tmp_path)
    now = record_of(image)
    added = {"key", "registered", "imported", "init", "process"}
    first = {field: value for field, value in now["record"].items() if field not in added}
    (image / "record.json").write_text(json.dumps({"version": 1, "record": first}))
    async with running(tmp_path) as images:
        (view,) = await images.ref.ask(ListImages())
        assert (view.name, view.key, view.default) == ("old", "", True)
    assert record_of(image) == {"version": RECORD_VERSION, "record": {**now["record"], "key": ""}}


async def test_a_default_image_that_is_gone(tmp_path: Path) -> None:
    image = await built(tmp_path)
    image.rename(tmp_path / "away")
    async with running(tmp_path) as images:
        assert await images.ref.ask(GetDefault()) == DefaultImage("debian", "setting", False)


async def test_a_default_image_that_may_come_back(tmp_path: Path) -> None:
    image = await built(tmp_path)
    record = (image / "record.json").read_bytes()
    (image / "record.json").write_bytes(b"half of a rec")
    async with running(tmp_path) as images:
        assert await images.ref.ask(GetDefault()) == DefaultImage("old", "command", False)
    assert (image / "record.json").read_bytes() == b"half of a rec"
    (image / "record.json").write_bytes(record)
    async with running(tmp_path) as images:
        assert await images.ref.ask(GetDefault()) == DefaultImage("old", "command", True)


async def test_who_lacks_a_work_seed_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    image = await built(tmp_path)
    told = "first VM will make their work seed: old"
    async with running(tmp_path) as images:
        await images.ref.ask(ListImages())
    assert told in caplog.text
    caplog.clear()
    (image / WORK_SEED).touch()
    async with running(tmp_path) as images:
        await images.ref.ask(ListImages())
    assert told not in caplog.text
