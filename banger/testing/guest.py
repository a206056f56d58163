"""A guest in memory: what it was told at boot, and the commands it was asked to run."""

from __future__ import annotations

from banger.capabilities.guest import GuestBuilder, GuestPlan
from banger.testing.programs import Programs


class FakeGuest(Programs):
    """Its commands are not run: ``answer`` says how they end, ``ran`` lists them.

    What it was told is in ``files``, ``modes``, ``hosts``, ``environment`` and, whole, in
    ``plan``. Files stay when it is booted again, as they are on the root disk.
    """

    def __init__(self) -> None:
        super().__init__()
        self.plan: GuestPlan = GuestBuilder().build()
        self.files: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}
        self.hosts: dict[str, str] = {}
        """Address by name, as in ``/etc/hosts``."""
        self.environment: dict[str, str] = {}
        self.boots = 0
        self.is_up = False

    def boot(self, plan: GuestPlan) -> None:
        """Apply the plan as a guest does that is started with it."""
        config = plan.config
        self.plan = plan
        for file in config.files:
            self.files[file.path] = file.data
            self.modes[file.path] = file.mode
        self.hosts = {name: entry.address for entry in config.hosts for name in entry.names}
        self.environment = dict(config.environment)
        if self.boots == 0:
            for command in config.first_boot:
                self.run(command)
        self.boots += 1
        self.is_up = True

    def power_off(self) -> None:
        self.is_up = False
