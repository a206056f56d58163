"""Labels of VMs."""

from __future__ import annotations

from typing import Annotated

import msgspec

LABELS_MAX = 64
LabelKey = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?\Z")
]
LabelValue = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_./:@+-]{0,128}\Z")]
Labels = Annotated[dict[LabelKey, LabelValue], msgspec.Meta(max_length=LABELS_MAX)]
