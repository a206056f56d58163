"""What can be said of a VM."""

from __future__ import annotations

from typing import Annotated

from banger.capabilities import Options, option


class VoidOptions(Options, frozen=True):
    runit: Annotated[
        bool | None,
        option("Set the guest up for Void's runit; by default when its image is one.", "--runit"),
    ] = None
    """None: as the setting ``images`` says."""
