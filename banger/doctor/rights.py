"""What the daemon may do, and as whom VMMs run."""

from __future__ import annotations

import os
from collections.abc import Sequence

from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.looking import looking_check
from banger.host import netlink
from banger.host.user import vmm_user
from banger.kernel.errors import HostNotReady
from banger.model.finding import Finding
from banger.model.vm import Verb


def rights_check() -> Check:
    """Before each start: without these rights there is no TAP."""
    return looking_check("rights", _look_at_rights, before=frozenset({Verb.START}))


def _look_at_rights(check: Check) -> Sequence[Finding]:
    try:
        netlink.check_rights()
    except HostNotReady as error:
        return [check.failed(error.message, error.hint)]
    return [check.ok("the daemon may make network devices (CAP_NET_ADMIN, /dev/net/tun)")]


def user_check(context: DoctorContext) -> Check:
    wanted = context.settings.text("qemu.user")
    return looking_check("vmm-user", lambda check: _look_at_user(check, wanted))


def _look_at_user(check: Check, wanted: str) -> Sequence[Finding]:
    uid = os.geteuid()
    if uid != 0:
        return [
            check.warning(
                f"the daemon runs as uid {uid}, not as root, so VMMs run as the same user: "
                "a guest that breaks out of its VMM has this user's rights",
                "run bangerd as root; it then runs VMMs as a user of their own",
            )
        ]
    user = vmm_user(wanted)
    assert user is not None
    if user.name != wanted:
        return [
            check.warning(
                f"there is no user {wanted!r}, so VMMs run as {user.name!r}, "
                "which other services may use too",
                f"useradd --system --no-create-home --shell /usr/sbin/nologin {wanted}",
            )
        ]
    return [check.ok(f"VMMs run as user {user.name!r}, uid {user.uid}")]
