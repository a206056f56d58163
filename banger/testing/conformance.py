"""Does a capability behave as the daemon and its users expect? One line in a test finds out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from banger.capabilities.capability import AnyCapability
from banger.testing import behaviour
from banger.testing.declared import faults, unusable
from banger.testing.trial import Arrange, Trial, TurnedOff, alarm


class Nonconforming(AssertionError):
    """``faults`` are what is wrong, a line each."""

    def __init__(self, name: object, found: Sequence[str]) -> None:
        lines = "".join(f"\n  {number}. {text}" for number, text in enumerate(found, 1))
        super().__init__(f"capability {name!r} does not conform:{lines}")
        self.faults = tuple(found)


async def conformance(
    capability: type[AnyCapability],
    directory: Path,
    *,
    options: Mapping[str, object] | None = None,
    settings: Mapping[str, object] | None = None,
    others: Sequence[type[AnyCapability]] = (),
    arrange: Arrange | None = None,
) -> None:
    """Raise `Nonconforming` unless the capability is sound.

    That is: what it declares can be used, the daemon will call the methods it has, its hooks
    cope with being repeated, left out and undone, `adopted` restores what `started` made,
    and nothing keeps the thread for `trial.BLOCKING_S`.

    VMs get ``options``, by field: give some that make it do something. ``arrange`` prepares
    each `FakeDaemon`: what programs answer, which guests there are. Fixes of checks are not
    run. ``directory`` is an empty one, such as pytest's ``tmp_path``.
    """
    name = getattr(capability, "name", capability)
    problems = unusable(capability)
    if problems:
        raise Nonconforming(name, problems)
    trial = Trial(
        capability,
        directory,
        options=options,
        settings=settings,
        others=others,
        arrange=arrange,
    )
    for text in faults(capability):
        trial.fault(text)
    if not trial.faults:
        with alarm(), suppress(TurnedOff):
            for part in behaviour.PARTS:
                await part(trial)
    if trial.faults:
        raise Nonconforming(name, trial.faults)
