"""Images: list, show, build."""

from __future__ import annotations

from banger.actors import images
from banger.api.backend import Backend
from banger.kernel.rpc import CallContext
from banger.model import requests
from banger.model.events import BuildProgress
from banger.model.image import ImageView


async def list_all(
    backend: Backend, request: requests.ListImages, context: CallContext
) -> list[ImageView]:
    return await backend.images.ask(images.ListImages())


async def show(backend: Backend, request: requests.ShowImage, context: CallContext) -> ImageView:
    return await backend.images.ask(images.DescribeImage(request.name))


async def build(backend: Backend, request: requests.BuildImage, context: CallContext) -> ImageView:
    return await backend.with_progress(
        context,
        lambda event: isinstance(event, BuildProgress) and event.image == request.name,
        lambda: backend.images.ask(images.BuildImage(request.name, request.recipe)),
    )
