"""What commands of one process share."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest

from banger.commands.session import Session


def test_commands_that_begin_together_connect_one_after_another(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting = threading.Lock()

    def connect(_: object) -> Mock:
        assert connecting.acquire(blocking=False), "two at once"
        time.sleep(0.01)
        connecting.release()
        return Mock(hello=Mock(pid=1))

    monkeypatch.setattr("banger.commands.session.connect_or_start", connect)
    with Session() as session, ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(lambda _: session.lease(), range(8)))) == 8
