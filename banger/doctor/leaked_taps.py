"""TAPs and firewall entries that belong to no VM."""

from __future__ import annotations

import time
from collections.abc import Sequence

from banger.actors.firewall import DescribeFirewall, UnpinTap
from banger.actors.tap_pool import IDLE_PREFIX, LEASED_PREFIX
from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.doctor.known import Known, seen_between
from banger.doctor.looking import in_thread, looking_check
from banger.host import netlink
from banger.host.netlink import Tap
from banger.model.finding import Finding, Level
from banger.model.firewall import Pin

MAKING_S = 0.5
"""Longer than the making of a TAP takes."""


def leaked_taps_check(context: DoctorContext) -> Check:
    """``fix`` deletes those on our bridge that nobody has open."""
    return looking_check(
        "leaks.taps", lambda check: _look(check, context), fix=lambda: _fix(context)
    )


def _seen(context: DoctorContext) -> tuple[Known, list[Tap]]:
    return seen_between(
        context.stores, lambda: netlink.list_taps(context.settings.text("network.bridge"))
    )


def _look(check: Check, context: DoctorContext) -> Sequence[Finding]:
    known, taps = _seen(context)
    if any(_is_held(tap) for tap in taps):
        # The pool itself has a TAP open for the moment in which it makes it.
        held_before = {tap.name for tap in taps if _is_held(tap)}
        time.sleep(MAKING_S)
        known, taps = _seen(context)
        taps = [tap for tap in taps if not _is_held(tap) or tap.name in held_before]
    found = []
    for tap in taps:
        problem = _problem(tap, known)
        if problem:
            remedy = f"ip link delete {tap.name}"
            fixable = _is_free(tap, known)
            summary = f"TAP {tap.name} {problem}"
            found.append(Finding(check.name, Level.WARNING, summary, remedy, fixable))
    idle = sum(_is_pooled(tap) for tap in taps)
    leased = sum(_owner(tap, known) is not None for tap in taps)
    return found or [check.ok(f"{leased} TAPs of VMs, {idle} idle TAPs ready for new ones")]


def _fix(context: DoctorContext) -> str:
    known, taps = _seen(context)
    done = []
    for tap in taps:
        if _is_free(tap, known):
            netlink.delete_tap(tap.name)
            done.append(f"deleted TAP {tap.name}")
    return ", ".join(done)


def _problem(tap: Tap, known: Known) -> str:
    if _is_pooled(tap):
        return "is idle, but some process has it open" if _is_held(tap) else ""
    if not tap.name.startswith(LEASED_PREFIX):
        return ""  # somebody put it on our bridge on purpose
    owner = _owner(tap, known)
    if owner is None:
        return "belongs to no VM" + ("; some process has it open" if tap.carrier else "")
    if known.is_idle(_short_id(tap)):
        return f"belongs to VM {owner!r}, which does not run"
    return ""


def _is_pooled(tap: Tap) -> bool:
    return tap.name.startswith(IDLE_PREFIX)


def _is_held(tap: Tap) -> bool:
    return _is_pooled(tap) and tap.carrier


def _short_id(tap: Tap) -> str:
    return tap.name.removeprefix(LEASED_PREFIX)


def _owner(tap: Tap, known: Known) -> str | None:
    return known.name_of(_short_id(tap))


def _is_free(tap: Tap, known: Known) -> bool:
    return (
        tap.name.startswith(LEASED_PREFIX)
        and not _is_pooled(tap)
        and not tap.carrier
        and _owner(tap, known) is None
        and known.complete
    )


def leaked_pins_check(context: DoctorContext) -> Check:
    """``fix`` takes the entries of TAPs out of the firewall whose VM is no more."""

    async def look() -> tuple[Known, Sequence[Pin]]:
        # Pins are put after the record and go before it: so they are asked for in between.
        before, _ = await in_thread(lambda: seen_between(context.stores, lambda: None))
        report = await context.firewall.ask(DescribeFirewall())
        after, _ = await in_thread(lambda: seen_between(context.stores, lambda: None))
        known = Known(before.names | after.names, before.idle & after.idle, after.quarantined)
        return known, report.pins

    async def run() -> Sequence[Finding]:
        known, pins = await look()
        stray = [pin for pin in pins if known.name_of(pin.tap.removeprefix(LEASED_PREFIX)) is None]
        return [
            Finding(
                check.name,
                Level.WARNING,
                f"the firewall lets {pin.tap} send as {pin.address}, and no VM has this TAP",
                "banger doctor --leaks --fix",
                fixable=known.complete,
            )
            for pin in stray
        ] or [check.ok(f"{len(pins)} TAPs in the firewall, each of a VM")]

    async def fix() -> str:
        known, pins = await look()
        done = []
        for pin in pins:
            if known.complete and known.name_of(pin.tap.removeprefix(LEASED_PREFIX)) is None:
                await context.firewall.ask(UnpinTap(pin.tap))
                done.append(f"removed the firewall's entry of {pin.tap}")
        return ", ".join(done)

    check = Check("leaks.firewall", run, fix=fix)
    return check
