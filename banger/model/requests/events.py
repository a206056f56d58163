"""What the daemon is asked about events."""

from __future__ import annotations

from typing import Annotated

import msgspec

from banger.kernel.message import Request
from banger.model.event_filter import Filter


class ReadEvents(Request[None], frozen=True, tag="events.read"):
    """stream: Recorded. With ``follow`` it runs until cancelled.

    ``after`` is the number of the last event that is known, ``since`` a Unix time. With
    neither: all that are kept, or with ``follow`` only what comes. A reader that is too slow,
    or was away for too long, gets `Lost` in place of what is no longer there; ``where`` does
    not keep it out.
    """

    after: Annotated[int, msgspec.Meta(ge=0)] | None = None
    since: float | None = None
    follow: bool = False
    where: Annotated[Filter, msgspec.Meta(max_length=32)] = {}
