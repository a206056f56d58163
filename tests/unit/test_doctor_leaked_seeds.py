"""Half-made seeds: those of a living maker are left alone."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.actors.seed_making import LOCK, MAKING
from banger.doctor.leaked_seeds import leaked_seeds_check
from banger.doctor.run import OwnedCheck, run_checks
from banger.host import file_lock
from banger.model.finding import Level
from tests.unit.doctor_context import Host, finding_of

KEY, MACHINE = "ab" * 12, "3" * 32


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def partial(host: Host) -> Path:
    path = host.paths.seeds / f"{MAKING}{KEY}.{MACHINE}"
    path.mkdir(parents=True)
    (path / "ram").touch()
    return path


@pytest.fixture
def template() -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-c", "import time; time.sleep(60)", "-uuid", str(uuid.UUID(MACHINE))]
    with subprocess.Popen(argv) as child:
        yield child
        child.kill()


async def test_nothing_half_made(host: Host) -> None:
    assert (await finding_of(leaked_seeds_check(host.context))).level is Level.OK


async def test_what_a_living_maker_has_is_its_own(host: Host, partial: Path) -> None:
    lock = file_lock.take(host.paths.seeds / f"{LOCK}{KEY}")
    assert lock is not None
    check = leaked_seeds_check(host.context)
    assert (await finding_of(check)).level is Level.OK
    lock.release()
    assert (await finding_of(check)).level is Level.WARNING


async def test_what_a_dead_maker_left_is_removed_with_its_template(
    host: Host, partial: Path, template: subprocess.Popen[bytes]
) -> None:
    check = leaked_seeds_check(host.context)
    found = await finding_of(check)
    assert found.fixable
    assert f"with process {template.pid}" in found.summary
    (fixed,) = await run_checks([OwnedCheck(check)], fix=True)
    assert fixed.level is Level.OK
    assert f"ended process {template.pid}" in fixed.fixed
    assert not partial.exists()


async def test_a_name_of_somebody_else_s_harms_nothing(host: Host) -> None:
    odd = host.paths.seeds / f"{MAKING}odd"
    odd.mkdir(parents=True)
    (fixed,) = await run_checks([OwnedCheck(leaked_seeds_check(host.context))], fix=True)
    assert fixed.level is Level.OK
    assert not odd.exists()
