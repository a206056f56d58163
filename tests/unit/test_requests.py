"""The socket's requests: all of them declared, none of them loose."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any, get_args

import msgspec
import pytest

import banger.model.requests as requests
from banger.kernel import wire
from banger.kernel.message import Lost, Request
from banger.model.events import AnyEvent, StageFinished, VmStateChanged
from banger.model.requests.any import AnyRequest
from banger.model.requests.exec import (
    AnyFeed,
    AnyOutput,
    ErrorOutput,
    Exec,
    Input,
    Resize,
    SendSignal,
)
from banger.model.requests.files import WriteFile
from banger.model.requests.vms import CreateVm, DeleteVm, ShowVm, WaitCondition, WaitVm
from banger.model.sizes import GIB
from banger.model.vm import VmState

decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(AnyRequest)


def test_every_request_of_the_modules_is_in_the_union() -> None:
    declared = {
        kind
        for module in iter_modules(requests.__path__, f"{requests.__name__}.")
        for kind in vars(import_module(module.name)).values()
        if isinstance(kind, type) and issubclass(kind, Request) and kind is not Request
    }
    assert declared == set(get_args(AnyRequest))


@pytest.mark.parametrize(
    "request_",
    [
        CreateVm(),
        CreateVm(name="web-1", vcpus=2, memory_mib=512, disk_bytes=8 * GIB),
        DeleteVm("web-1"),
        Exec("web-1", ["ls", "-l"], env={"A": "b"}, tty=True),
        WaitVm("web-1", WaitCondition.SSH, 30),
        WriteFile("web-1", "/etc/motd", 5, mode=0o600),
    ],
)
def test_requests_survive_the_wire(request_: Any) -> None:
    assert decoder.decode(wire.raw(request_)) == request_


@pytest.mark.parametrize(
    "request_",
    [
        CreateVm(name="Web"),
        CreateVm(name="web\n"),
        CreateVm(vcpus=0),
        CreateVm(vcpus=65),
        CreateVm(memory_mib=1),
        CreateVm(disk_bytes=1),
        ShowVm(""),
        Exec("web-1", []),
        WaitVm("web-1", WaitCondition.SSH, 0),
        WaitVm("web-1", WaitCondition.SSH, float("inf")),
        WaitVm("web-1", WaitCondition.SSH, float("nan")),
        WriteFile("web-1", "relative", 5),
        WriteFile("web-1", "/a\0b", 5),
        WriteFile("web-1", "/a", -1),
        WriteFile("web-1", "/a", 1, mode=0o10000),
    ],
)
def test_values_out_of_range_are_refused(request_: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(wire.raw(request_))


def test_unknown_fields_and_kinds_are_refused() -> None:
    unknown_field = {"type": "vm.show", "name": "a", "x": 1}
    bad: list[object] = [unknown_field, {"type": "vm.shoot"}, {}, None, []]
    for loose in bad:
        with pytest.raises(msgspec.ValidationError):
            decoder.decode(wire.raw(loose))


def test_streams_survive_the_wire() -> None:
    items: list[tuple[Any, Any]] = [
        (AnyFeed, Input(b"\0\xff")),
        (AnyFeed, Resize(24, 80)),
        (AnyFeed, SendSignal(15)),
        (AnyOutput, ErrorOutput(b"oops")),
        (AnyEvent, Lost(3)),
        (AnyEvent, StageFinished("web-1", "create", "root disk", 1.5, "")),
        (AnyEvent, VmStateChanged("web-1", VmState.RUNNING, "")),
    ]
    for kind, item in items:
        assert msgspec.msgpack.decode(wire.raw(item), type=kind) == item
    for bad in (Resize(0, 80), SendSignal(0), SendSignal(65)):
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(wire.raw(bad), type=AnyFeed)
