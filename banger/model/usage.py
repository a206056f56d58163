"""How fast a VM uses what it uses: from two looks at its counters."""

from __future__ import annotations

import msgspec

from banger.model.stats import VmStats


class Usage(VmStats, frozen=True):
    """Rates are null where there is nothing to tell them from: no VMM, or another one before."""

    cpu_percent: float | None = None
    """Of one CPU of the host: two busy vCPUs come to 200."""
    sent_bytes_s: float | None = None
    received_bytes_s: float | None = None


def usage(before: VmStats | None, now: VmStats) -> Usage:
    found = Usage(**{field: getattr(now, field) for field in VmStats.__struct_fields__})
    # Counters of another VMM, or of a TAP that was leased anew, are not to be compared.
    if before is None or before.vmm is None or now.vmm is None or before.vmm.pid != now.vmm.pid:
        return found
    seconds = now.at_s - before.at_s
    if seconds <= 0:
        return found
    cpu = _rate(before.vmm.cpu_s, now.vmm.cpu_s, seconds) * 100
    found = msgspec.structs.replace(found, cpu_percent=round(cpu, 2))
    if before.network is None or now.network is None or before.network.tap != now.network.tap:
        return found
    return msgspec.structs.replace(
        found,
        sent_bytes_s=round(_rate(before.network.sent_bytes, now.network.sent_bytes, seconds)),
        received_bytes_s=round(
            _rate(before.network.received_bytes, now.network.received_bytes, seconds)
        ),
    )


def _rate(before: float, now: float, seconds: float) -> float:
    return max(0.0, now - before) / seconds
