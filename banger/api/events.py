"""Events: those kept, and those to come."""

from __future__ import annotations

import math

from banger.api.backend import Backend
from banger.kernel.message import Lost
from banger.kernel.rpc import CallContext
from banger.model.event_filter import fits
from banger.model.requests.events import ReadEvents


async def read(backend: Backend, request: ReadEvents, context: CallContext) -> None:
    ring = backend.events
    await ring.filled.wait()
    after = request.after
    if after is None and request.since is None and request.follow:
        after = ring.last
    since = -math.inf if request.since is None else request.since
    async for recorded in ring.read(after, follow=request.follow):
        wanted = isinstance(recorded.event, Lost) or fits(recorded.event, request.where)
        if wanted and recorded.at >= since:
            await context.send(recorded)
