"""What the tests of this folder share; their helpers are in `void_samples`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from void_samples import make_kernel_image


@pytest.fixture
def build_rights() -> None:
    """Skip, or fail under CI=true, where whole builds can't be run."""
    tools = [tool for tool in ("mkfs.ext4", "debugfs") if shutil.which(tool, path=TOOLS) is None]
    reason = f"{', '.join(tools)} is missing" if tools else ""
    if os.geteuid() != 0:
        reason = "they need root"
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"whole builds were not run: {reason}", pytrace=False)
    if reason:
        pytest.skip(f"whole builds were not run: {reason}")


@pytest.fixture
def kernel_image(tmp_path: Path, build_rights: None) -> Path:
    """The directory of an image with a kernel 6.1.0-test, next to which images are built."""
    return make_kernel_image(tmp_path / "images" / "debian-01234567")


TOOLS = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
