"""The installation's SSH key: show, rotate."""

from __future__ import annotations

from banger.actors import keys
from banger.api.backend import Backend
from banger.kernel.errors import UsageError
from banger.kernel.rpc import CallContext
from banger.model.requests import keys as requests
from banger.model.requests.keys import KeyView


async def show(backend: Backend, request: requests.ShowKey, context: CallContext) -> KeyView:
    return await backend.keys.ask(keys.DescribeKey())


async def rotate(backend: Backend, request: requests.RotateKey, context: CallContext) -> KeyView:
    if request.fault is not None and not backend.testing:
        raise UsageError("faults are injected only into a daemon started for tests")
    return await backend.keys.ask(keys.RotateKey(request.fault))
