"""What there is to be named: VMs, images, labels, plugins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from banger.cli.complete import Candidate
from banger.client.connection import Connection
from banger.kernel.errors import BangerError
from banger.model.command import Completion
from banger.model.image import ImageView
from banger.model.requests.images import ListImages
from banger.model.requests.plugins import ListPlugins
from banger.model.requests.vms import ListVms
from banger.model.text import printable
from banger.model.vm import VmView


class LiveNames:
    """Asks the daemon for what is wanted. Nothing is there when there is none to ask."""

    def __init__(self, connection: Connection | None) -> None:
        self._connection = connection

    def named(self, kind: Completion) -> Iterable[Candidate]:
        if self._connection is None:
            return []
        try:
            match kind:
                case Completion.VM | Completion.LABEL | Completion.LABEL_KEY:
                    vms = self._connection.call(ListVms())
                    return of_vms(vms, kind)
                case Completion.IMAGE:
                    images = self._connection.call(ListImages())
                    return of_images(images)
                case Completion.PLUGIN | Completion.CAPABILITY:
                    return self._plugins(kind)
        except BangerError:
            pass
        return []

    def _plugins(self, kind: Completion) -> list[Candidate]:
        assert self._connection is not None
        return [
            Candidate(printable(view.name), printable(view.summary or view.reason))
            for view in self._connection.call(ListPlugins())
            if kind is Completion.PLUGIN or view.kind == Completion.CAPABILITY
        ]


def of_vms(views: Sequence[VmView], kind: Completion) -> Iterator[Candidate]:
    """VMs with their states, or the labels that they have."""
    if kind is Completion.VM:
        for view in views:
            place = f" at {view.address}" if view.address else ""
            yield Candidate(view.name, f"{view.state}{place}, {view.image}")
        return
    users: dict[str, int] = {}
    for view in views:
        for key, value in view.labels.items():
            text = f"{key}={value}" if kind is Completion.LABEL else key
            users[text] = users.get(text, 0) + 1
    for text, count in sorted(users.items()):
        yield Candidate(text, f"{count} VM{'s' * (count != 1)}")


def of_images(views: Sequence[ImageView]) -> list[Candidate]:
    return [Candidate(view.name, f"{printable(view.distribution) or view.state}") for view in views]
