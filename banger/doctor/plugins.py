"""Plugins that are installed and not in use."""

from __future__ import annotations

from collections.abc import Sequence

from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.model.finding import Finding


def plugins_check(context: DoctorContext) -> Check:
    async def run() -> Sequence[Finding]:
        registry = context.registry
        wanted_off = {name.strip() for name in context.settings.text("plugins.disabled").split(",")}
        found = []
        for item in registry.installed:
            reason = registry.reason(item)
            if item.name in wanted_off:
                found.append(check.ok(f"{item.name!r} is turned off by the setting"))
            elif reason:
                found.append(
                    check.warning(
                        f"{item.name!r} of {item.distribution} is off: {reason}",
                        f"mend or uninstall {item.distribution}, or put {item.name} into the "
                        "setting plugins.disabled",
                    )
                )
        return found or [check.ok(f"in use: {', '.join(registry.active) or 'none'}")]

    check = Check("plugins", run)
    return check
