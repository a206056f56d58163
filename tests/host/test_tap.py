from __future__ import annotations

import fcntl
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Interface
from typing import Any

import pytest
from pyroute2 import IPRoute

from banger.host import links, tap
from banger.host.netlink import (
    Tap,
    create_tap,
    delete_bridge,
    delete_tap,
    ensure_bridge,
    lease_tap,
    list_taps,
    open_loose_tap,
    open_tap,
    release_tap,
)
from banger.kernel.errors import BangerError, Conflict, HostNotReady, NotFound, UsageError

Ip = Callable[..., list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def bridge() -> str:
    return ensure_bridge("br-t", IPv4Interface("10.213.0.1/22")).name


def shown(ip: Ip, name: str) -> dict[str, Any]:
    (link,) = ip("-d", "link", "show", "dev", name)
    return link


def test_created_idle_persistent_and_private(ip: Ip) -> None:
    made = create_tap("tap-pool-0", bridge="br-t", alias="idle", owner_uid=1234, mtu=1400)

    link = shown(ip, "tap-pool-0")
    assert made == Tap("tap-pool-0", link["ifindex"], "idle", "br-t", False, False, 1400)
    assert link["master"] == "br-t"
    assert link["ifalias"] == "idle"
    assert link["mtu"] == 1400
    assert "UP" not in link["flags"]
    data = link["linkinfo"]["info_data"]
    assert data["type"] == "tap"
    assert data["persist"]
    assert data["vnet_hdr"]
    assert not data["pi"]
    assert list_taps() == [made]


def test_owner_is_never_everybody(ip: Ip) -> None:
    """A TAP without owner can be opened by anybody; iproute2 shows an owner by name or uid."""
    create_tap("t0", bridge="br-t")
    create_tap("t1", bridge="br-t", owner_uid=54321)
    assert shown(ip, "t0")["linkinfo"]["info_data"]["user"] in ("root", 0, str(os.geteuid()))
    assert str(shown(ip, "t1")["linkinfo"]["info_data"]["user"]) == "54321"


def test_lease_and_release(ip: Ip) -> None:
    made = create_tap("tap-pool-0", bridge="br-t")
    leased = lease_tap("tap-pool-0", "vm-alice", alias="banger:alice")
    assert leased == Tap("vm-alice", made.index, "banger:alice", "br-t", True, False, 1500)
    assert list_taps() == [leased]
    assert "UP" in shown(ip, "vm-alice")["flags"]

    released = release_tap("vm-alice", "tap-pool-1")
    assert released == Tap("tap-pool-1", made.index, "", "br-t", False, False, 1500)
    assert list_taps() == [released]
    assert "ifalias" not in shown(ip, "tap-pool-1")
    assert "UP" not in shown(ip, "tap-pool-1")["flags"]


def test_release_under_its_own_name() -> None:
    create_tap("t0", bridge="br-t")
    lease_tap("t0", "t0", alias="x")
    assert release_tap("t0", "t0").up is False


def test_carrier_tells_that_someone_has_it_open() -> None:
    create_tap("t0", bridge="br-t")
    lease_tap("t0", "vm", alias="x")
    assert [t.carrier for t in list_taps()] == [False]
    descriptor = open_tap("vm")
    try:
        assert [t.carrier for t in list_taps()] == [True]
        assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        with pytest.raises(Conflict, match="TAP vm is in use by another process"):
            open_tap("vm")
    finally:
        os.close(descriptor)
    assert [t.carrier for t in list_taps()] == [False]


def test_frames_cross_the_bridge_at_once() -> None:
    """No forward delay: the first frame sent after leasing arrives."""
    descriptors = []
    for name in ("a", "b"):
        create_tap(name, bridge="br-t")
        descriptors.append(open_tap(name))
        lease_tap(name, f"vm-{name}", alias=name)
    try:
        for descriptor in descriptors:
            os.set_blocking(descriptor, False)
        virtio_header = bytes(10)
        frame = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x88\xb5" + b"hello".ljust(50, b"\0")
        received = b""
        deadline = time.monotonic() + 5
        os.write(descriptors[0], virtio_header + frame)
        while frame not in received and time.monotonic() < deadline:
            try:
                received = os.read(descriptors[1], 2000)
            except BlockingIOError:
                time.sleep(0.01)
        assert received == virtio_header + frame
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_qemu_takes_the_descriptor() -> None:
    create_tap("t0", bridge="br-t")
    lease_tap("t0", "vm", alias="x")
    descriptor = open_tap("vm")
    try:
        done = subprocess.run(
            [
                "qemu-system-x86_64", "-M", "microvm", "-accel", "tcg,tb-size=8", "-m", "16",
                "-nodefaults", "-no-user-config", "-display", "none", "-S", "-monitor", "stdio",
                "-netdev", f"tap,id=n0,fd={descriptor}", "-device", "virtio-net-device,netdev=n0",
            ],
            input="info network\nquit\n",
            pass_fds=[descriptor],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )  # fmt: skip
    finally:
        os.close(descriptor)
    assert f"n0: index=0,type=tap,fd={descriptor}" in done.stdout
    assert done.stderr == ""


def test_list_by_bridge(ip: Ip) -> None:
    ensure_bridge("br-u", IPv4Interface("10.177.0.1/22"))
    create_tap("t2", bridge="br-u")
    create_tap("t1", bridge="br-t")
    create_tap("t0", bridge="br-t")
    ip("tuntap", "add", "dev", "loose", "mode", "tap")
    ip("tuntap", "add", "dev", "tunnel", "mode", "tun")
    assert [t.name for t in list_taps("br-t")] == ["t0", "t1"]
    assert [t.name for t in list_taps("br-u")] == ["t2"]
    assert [(t.name, t.bridge) for t in list_taps()] == [
        ("loose", None),
        ("t0", "br-t"),
        ("t1", "br-t"),
        ("t2", "br-u"),
    ]
    assert list_taps("none") == []
    delete_bridge("br-u")
    assert [t.bridge for t in list_taps() if t.name == "t2"] == [None]


def test_taken_names(veth: str) -> None:
    create_tap("t0", bridge="br-t", alias="first")
    for name in ("t0", veth, "lo", "br-t"):
        with pytest.raises(Conflict, match=f"interface {name} already exists"):
            create_tap(name, bridge="br-t", alias="second")
    create_tap("t1", bridge="br-t")
    for name in ("t0", veth):
        with pytest.raises(Conflict, match=f"lease TAP t1 as {name}.*already exists"):
            lease_tap("t1", name, alias="x")
        with pytest.raises(Conflict, match=f"release TAP t1 as {name}.*already exists"):
            release_tap("t1", name)
    assert [(t.name, t.alias, t.up) for t in list_taps()] == [
        ("t0", "first", False),
        ("t1", "", False),
    ]


def test_not_a_tap(ip: Ip, veth: str) -> None:
    ip("tuntap", "add", "dev", "tunnel", "mode", "tun")
    operations: list[Callable[[str], object]] = [
        delete_tap,
        open_tap,
        lambda name: lease_tap(name, "x", alias=""),
        lambda name: release_tap(name, "x"),
    ]
    for name in ("lo", veth, "tunnel"):
        for operation in operations:
            with pytest.raises(Conflict, match=f"{name} exists and is not a TAP"):
                operation(name)


def test_nothing_there() -> None:
    delete_tap("t0")
    for operation in (
        lambda: open_tap("t0"),
        lambda: lease_tap("t0", "t1", alias=""),
        lambda: release_tap("t0", "t1"),
    ):
        with pytest.raises(NotFound, match="no TAP t0"):
            operation()
    assert list_taps() == []


def test_opening_one_just_deleted_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "index_of", lambda name: 1)
    with pytest.raises(NotFound, match="no persistent TAP t0"):
        open_tap("t0")
    assert list_taps() == []


def test_delete_even_when_open_and_twice() -> None:
    create_tap("t0", bridge="br-t")
    descriptor = open_tap("t0")
    try:
        delete_tap("t0")
        assert list_taps() == []
        delete_tap("t0")
    finally:
        os.close(descriptor)


def test_bad_requests(veth: str) -> None:
    with pytest.raises(UsageError, match="alias"):
        create_tap("t0", bridge="br-t", alias="a" * 255)
    with pytest.raises(UsageError, match="alias"):
        create_tap("t0", bridge="br-t", alias="a\nb")
    with pytest.raises(UsageError, match="MTU 70000"):
        create_tap("t0", bridge="br-t", mtu=70000)
    for missing in ("none", veth):
        with pytest.raises(NotFound, match=f"no bridge {missing} for TAP t0"):
            create_tap("t0", bridge=missing)
    create_tap("t0", bridge="br-t", alias="a" * 254)
    with pytest.raises(UsageError):
        lease_tap("t0", "a" * 16, alias="")
    assert [t.alias for t in list_taps()] == ["a" * 254]


def test_create_that_fails_late_leaves_no_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.ioctl

    def fail_to_persist(descriptor: int, request: int, *rest: Any) -> Any:
        if request == tap._TUNSETPERSIST:
            raise OSError(12, "Cannot allocate memory")
        return real(descriptor, request, *rest)

    monkeypatch.setattr(fcntl, "ioctl", fail_to_persist)
    with pytest.raises(HostNotReady, match=r"create TAP t0 on bridge br-t: .*ENOMEM"):
        create_tap("t0", bridge="br-t")
    assert list_taps() == []


def test_a_bridge_deleted_meanwhile_leaves_no_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "silence_ipv6", lambda name: delete_bridge("br-t"))
    with pytest.raises(BangerError, match="create TAP t0 on bridge br-t"):
        create_tap("t0", bridge="br-t")
    assert list_taps() == []


def test_lease_that_fails_half_way_is_undone(veth: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new name is taken after the look-up; the kernel refuses, and nothing has changed."""
    create_tap("t0", bridge="br-t", alias="idle")
    monkeypatch.setattr(links, "index_of", lambda name: None)
    with pytest.raises(Conflict, match="lease TAP t0 as veth"):
        lease_tap("t0", veth, alias="vm")
    assert [(t.name, t.alias, t.up) for t in list_taps()] == [("t0", "idle", False)]


def outcomes(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run all at once, each in a thread; what each returned or raised."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait()
        try:
            return call()
        except BangerError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_two_threads_lease_one_tap() -> None:
    for number in range(20):
        create_tap("t0", bridge="br-t")
        results = outcomes([partial(lease_tap, "t0", f"vm-{n}", alias=n) for n in ("a", "b")])
        won = [r for r in results if isinstance(r, Tap)]
        lost = [r for r in results if isinstance(r, NotFound)]
        assert (len(won), len(lost)) == (1, 1), f"round {number}: {results}"
        assert list_taps() == won
        delete_tap(won[0].name)


def test_threads_create_one_name() -> None:
    results = outcomes([lambda: create_tap("t0", bridge="br-t")] * 4)
    assert sum(isinstance(r, Tap) for r in results) == 1
    assert sum(isinstance(r, Conflict) for r in results) == 3
    assert len(list_taps()) == 1


def test_many_threads_at_once() -> None:
    def life(number: int) -> None:
        create_tap(f"tap-pool-{number}", bridge="br-t")
        lease_tap(f"tap-pool-{number}", f"vm-{number}", alias=f"vm {number}")
        os.close(open_tap(f"vm-{number}"))
        assert any(t.name == f"vm-{number}" and t.up for t in list_taps())
        release_tap(f"vm-{number}", f"tap-pool-{number}")
        delete_tap(f"tap-pool-{number}")

    results = outcomes([partial(life, n) for n in range(16)])
    assert results == [None] * 16
    assert list_taps() == []


@pytest.fixture
def netlink_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The link commands sent from here on."""
    calls: list[str] = []

    class Counting(IPRoute):  # type: ignore[misc]
        def link(self, command: str, **arguments: Any) -> Any:
            calls.append(command)
            return super().__getattr__("link")(command, **arguments)

    monkeypatch.setattr(links, "IPRoute", Counting)
    return calls


def test_lease_takes_two_messages(netlink_calls: list[str]) -> None:
    create_tap("t0", bridge="br-t")
    netlink_calls.clear()
    lease_tap("t0", "vm", alias="x")
    assert netlink_calls == ["get", "set"]
    netlink_calls.clear()
    release_tap("vm", "t0")
    assert netlink_calls == ["get", "set", "set"]


def test_a_loose_tap_goes_with_its_descriptor() -> None:
    before = {tap.name for tap in list_taps()}
    fds = [open_loose_tap() for _ in range(2)]
    made = {tap.name: tap for tap in list_taps() if tap.name not in before}
    assert len(made) == 2
    assert all(re.fullmatch(r"tap-loose\d+", name) for name in made)
    assert all(tap.bridge is None for tap in made.values())
    for fd in fds:
        os.close(fd)
    assert {tap.name for tap in list_taps()} == before
