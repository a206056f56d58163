from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Interface

import pytest

from banger.host import links
from banger.host.netlink import check_rights, create_tap, ensure_bridge, list_taps
from banger.kernel.errors import HostNotReady

SHOW_ERROR = """
import sys
from ipaddress import IPv4Interface
from banger.kernel.errors import BangerError
from banger.host.netlink import *
try:
    {call}
except BangerError as error:
    print(type(error).__name__, error)
"""


def without_net_admin(call: str) -> str:
    """What the expression *call* raises in a process that has lost CAP_NET_ADMIN."""
    argv = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
    argv += [sys.executable, "-W", "error", "-c", SHOW_ERROR.format(call=call)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.strip()


def test_rights_are_there() -> None:
    check_rights()


def test_missing_right_is_named_with_the_remedy() -> None:
    assert without_net_admin("check_rights()") == (
        "HostNotReady bangerd lacks CAP_NET_ADMIN"
        " (run bangerd as root, or give its service CAP_NET_ADMIN)"
    )


@pytest.mark.parametrize(
    ("call", "doing"),
    [
        ("ensure_bridge('br-x', IPv4Interface('10.1.0.1/24'))", "set up bridge br-x"),
        ("ensure_bridge('br-t', IPv4Interface('10.213.0.1/22'))", "set up bridge br-t"),
        ("delete_bridge('br-t')", "delete bridge br-t"),
        ("create_tap('t9', bridge='br-t')", "create TAP t9 on bridge br-t"),
        ("lease_tap('t0', 'vm', alias='x')", "lease TAP t0 as vm"),
        ("release_tap('t0', 'vm')", "release TAP t0 as vm"),
        ("delete_tap('t0')", "delete TAP t0"),
        ("open_tap('t0')", "open TAP t0"),
    ],
)
def test_every_change_names_the_operation(call: str, doing: str) -> None:
    ensure_bridge("br-t", IPv4Interface("10.213.0.1/22"))
    create_tap("t0", bridge="br-t", owner_uid=1234)
    before = list_taps()
    said = without_net_admin(call)
    assert said.startswith(f"HostNotReady not permitted to {doing}")
    assert "CAP_NET_ADMIN" in said
    assert list_taps() == before


def test_looking_needs_no_rights() -> None:
    ensure_bridge("br-t", IPv4Interface("10.213.0.1/22"))
    create_tap("t0", bridge="br-t")
    assert without_net_admin("print(len(list_taps()), find_bridge('br-t').gateway)") == (
        "1 10.213.0.1/22"
    )


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("/nowhere/net/tun", "is missing .modprobe tun"),
        ("/dev/null/tun", "is missing .modprobe tun"),
        ("/", "can't open /: Is a directory"),
    ],
)
def test_no_tun_device(monkeypatch: pytest.MonkeyPatch, device: str, message: str) -> None:
    monkeypatch.setattr(links, "TUN_DEVICE", device)
    with pytest.raises(HostNotReady, match=message):
        check_rights()
