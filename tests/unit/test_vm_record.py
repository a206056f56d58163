"""What a VM's record may not say, however well-formed it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from banger.kernel.store import RecordStore
from banger.model.vm import (
    RECORD_MIGRATIONS,
    RECORD_VERSION,
    VmRecord,
    VmSpec,
    VmState,
)

GOOD = msgspec.to_builtins(
    VmRecord(
        id="0123456789abcdef" * 2,
        name="web-1",
        spec=VmSpec(image="debian", vcpus=1, memory_mib=256, disk_bytes=64 << 20),
        image_id="debian-1",
        state=VmState.STOPPED,
        created_at=0.0,
        address="172.31.0.2",
        mac="02:fc:ac:1f:00:02",
        driver="qemu",
    )
)


def test_a_good_one() -> None:
    assert msgspec.convert(GOOD, VmRecord).address == "172.31.0.2"
    assert msgspec.convert(GOOD | {"address": ""}, VmRecord).address == ""


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../.."},
        {"id": "0123456789ABCDEF" * 2},
        {"id": "0123456789abcdef" * 2 + "\n"},
        {"address": "172.31.0.256"},
        {"address": "nowhere"},
        {"name": "../web"},
    ],
)
def test_bad_ones(change: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(GOOD | change, VmRecord)


def test_a_record_of_the_first_version(tmp_path: Path) -> None:
    old = GOOD | {"host_public_key": "ssh-ed25519 AAAA"}
    del old["labels"], old["options"]
    (tmp_path / "web-1").mkdir()
    document = msgspec.json.encode({"version": 1, "record": old})
    (tmp_path / "web-1" / "record.json").write_bytes(document)
    store = RecordStore(tmp_path, VmRecord, version=RECORD_VERSION, migrations=RECORD_MIGRATIONS)
    assert store.load("web-1") == msgspec.convert(GOOD, VmRecord)
