"""Guests whose init is runit, laid out as Void does."""

from __future__ import annotations

from banger.capabilities import API_VERSION, Capability, GuestContribution, Host, Setting, Vm

from banger_void.guest_files import read_guest_files
from banger_void.options import VoidOptions


class Void(Capability[VoidOptions]):
    """Its settings are also the recipe's: ``rootfs/build`` has them from its environment."""

    api_version = API_VERSION
    name = "void"
    summary = "Void Linux guests: sshd under runit, a boot that is not in the agent's way."
    options = VoidOptions
    settings = (
        Setting(
            "images",
            "void,void-exp",
            "Images whose VMs are set up for runit without --runit, separated by commas.",
        ),
        Setting("rootfs_tarball", "", "Void's root tarball, a path; goes before rootfs_url."),
        Setting(
            "rootfs_url",
            "",
            "Where to get Void's root tarball; when empty, from Void's own server.",
        ),
        Setting(
            "rootfs_sha256", "", "SHA-256 of the root tarball in hex; a URL is not used without."
        ),
        Setting(
            "repository",
            "",
            "URL of the repository that missing packages come from; when empty, the tarball's own.",
        ),
        Setting(
            "kernel_image",
            "debian",
            "Image whose kernel and modules the Void image gets, or a directory like an image's.",
        ),
    )

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        names = host.settings.text("images").split(",")
        self._images = frozenset(filter(None, (name.strip() for name in names)))
        self._files = read_guest_files()

    def contribute(self, vm: Vm, options: VoidOptions, guest: GuestContribution) -> None:
        wanted = vm.image in self._images if options.runit is None else options.runit
        if wanted:
            for file in self._files:
                guest.file(file.path, file.data, mode=file.mode)
