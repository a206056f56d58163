"""The check that tells which images have a work seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.actors.images import ListImages
from banger.doctor.work_seeds import work_seeds_check
from banger.model.finding import Level
from banger.model.image import ImageState, ImageView
from tests.unit.doctor_context import Host, finding_of


def image(name: str, *, work_seed: bool, id: str = "1") -> ImageView:
    return ImageView(
        name=name,
        id=id,
        recipe="",
        distribution="",
        kernel_version="",
        built_at="",
        disk_bytes=0,
        allocated_bytes=0,
        vms=[],
        path="",
        state=ImageState.READY if id else ImageState.BUILDING,
        work_seed=work_seed,
    )


@pytest.mark.parametrize(
    ("having", "lacking", "summary"),
    [
        ("", "", "there are no images"),
        ("ab", "", "with one: a, b"),
        ("a", "bc", "with one: a; made with their first VM: b, c"),
        ("", "b", "with one: none; made with their first VM: b"),
    ],
)
async def test_which_images_have_one(
    tmp_path: Path, having: str, lacking: str, summary: str
) -> None:
    host = Host(tmp_path)
    views = [image(name, work_seed=True) for name in having]
    views += [image(name, work_seed=False) for name in lacking]
    host.images.answers[ListImages] = [*views, image("unfinished", work_seed=False, id="")]
    found = await finding_of(work_seeds_check(host.context))
    assert (found.level, found.summary) == (Level.OK, summary)
