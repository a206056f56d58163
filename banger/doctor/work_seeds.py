"""Which images have a work seed, the small disk that each VM's /root begins as."""

from __future__ import annotations

from collections.abc import Sequence

from banger.actors.images import ListImages
from banger.capabilities.check import Check
from banger.doctor.context import DoctorContext
from banger.model.finding import Finding


def work_seeds_check(context: DoctorContext) -> Check:
    """Always ok: what lacks is made when it is needed."""

    async def run() -> Sequence[Finding]:
        views = [view for view in await context.images.ask(ListImages()) if view.id]
        having = [view.name for view in views if view.work_seed]
        lacking = [view.name for view in views if not view.work_seed]
        parts = [f"with one: {', '.join(having) or 'none'}"]
        if lacking:
            parts.append(f"made with their first VM: {', '.join(lacking)}")
        return [check.ok("; ".join(parts) if views else "there are no images")]

    check = Check("work-seeds", run)
    return check
