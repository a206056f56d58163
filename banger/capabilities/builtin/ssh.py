"""SSH without trust on first use: the guest's host key is made on the host."""

from __future__ import annotations

from pathlib import Path

import trio

from banger.capabilities.capability import API_VERSION, Capability
from banger.capabilities.guest import GuestContribution
from banger.capabilities.host import Step, Vm
from banger.capabilities.options import Options
from banger.host import keys

HOST_KEY_PLACE = "/etc/ssh/ssh_host_ed25519_key"
"""In the guest."""


class Ssh(Capability[Options]):
    api_version = API_VERSION
    name = "ssh"
    summary = "The guest's SSH host key, and root's authorized key."
    nameless = True
    late_files = True  # the agent tells sshd

    async def prepare(self, vm: Vm, options: Options, step: Step) -> None:
        path = host_key(vm.directory)
        if not path.exists():
            await trio.to_thread.run_sync(keys.make_key, path, f"banger-{vm.id[:8]}")

    def contribute(self, vm: Vm, options: Options, guest: GuestContribution) -> None:
        pair = keys.read_key(host_key(vm.directory))
        guest.file(HOST_KEY_PLACE, pair.private, mode=0o600)
        guest.file(f"{HOST_KEY_PLACE}.pub", pair.public + "\n")
        guest.authorized_key("root", self.host.key.public)


def host_key(directory: Path) -> Path:
    """The guest's private host key, in the VM's directory; ``.pub`` stands beside it."""
    return directory / "ssh_host_ed25519_key"
