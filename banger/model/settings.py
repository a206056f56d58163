"""Every setting: one row in one table.

The file ``config.toml`` (``[section]`` then ``name = value``), the environment
(``BANGER_SECTION_NAME``), ``banger config show`` and docs/settings.md derive from it.
"""

from __future__ import annotations

import contextlib

import msgspec

from banger.kernel.errors import UsageError

Value = str | int | bool

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


def variable(key: str) -> str:
    """The environment variable of a setting."""
    return "BANGER_" + key.replace(".", "_").replace("-", "_").upper()


class Setting(msgspec.Struct, frozen=True):
    """``choices`` empty: any value of the default's type."""

    key: str
    default: Value
    help: str
    choices: tuple[str, ...] = ()
    minimum: int = 0

    @property
    def variable(self) -> str:
        return variable(self.key)

    def check(self, value: object) -> Value:
        """The value in the setting's type. Raises `UsageError`."""
        kind = type(self.default)
        if isinstance(value, str) and kind is bool and value.lower() in _TRUE + _FALSE:
            value = value.lower() in _TRUE
        if isinstance(value, str) and kind is int:
            with contextlib.suppress(ValueError):
                value = int(value)
        if type(value) is not kind or not isinstance(value, str | int):
            wanted = {int: "a number", bool: "true or false"}.get(kind, "a text")
            raise UsageError(f"setting {self.key}: {value!r} is not {wanted}")
        if self.choices and value not in self.choices:
            raise UsageError(
                f"setting {self.key}: {value!r} is not one of {', '.join(self.choices)}"
            )
        if kind is int and isinstance(value, int) and value < self.minimum:
            raise UsageError(f"setting {self.key}: {value} is less than {self.minimum}")
        return value


SETTINGS = (
    Setting("vm.image", "debian", "Image of a new VM when --image is not given."),
    Setting("vm.vcpus", 1, "Virtual CPUs of a new VM.", minimum=1),
    Setting("vm.memory_mib", 256, "Memory of a new VM in MiB.", minimum=128),
    Setting(
        "vm.disk",
        "image",
        "Size of a new VM's root disk, like 8G; 'image' keeps the image's size.",
    ),
    Setting("vm.stop_timeout_s", 90, "How long a guest may take to shut down.", minimum=1),
    Setting("vm.driver", "qemu", "Virtual machine monitor of the VMs."),
    Setting(
        "vm.warm_seeds",
        "auto",
        "auto: new VMs begin where one of their image and shape was booted to; off: each boots.",
        choices=("auto", "off"),
    ),
    Setting("network.bridge", "banger0", "Name of the bridge the VMs are connected to."),
    Setting(
        "network.subnet",
        "auto",
        "Network of the VMs, like 172.31.0.0/22; 'auto' takes one that is free on this host.",
    ),
    Setting(
        "network.resolvers",
        "",
        "Name servers written into guests, separated by commas.",
    ),
    Setting("guest.agent", "", "Path of the guest agent's binary; empty: the one that was built."),
    Setting("plugins.disabled", "", "Capabilities not to be used, names separated by commas."),
    Setting("tap_pool.size", 4, "Idle TAP devices kept ready."),
    Setting(
        "standby.size",
        1,
        "VMs kept ready, of each kind that is being created from a warm seed; 0: none.",
    ),
    Setting(
        "standby.reserve_mib",
        512,
        "Memory of the host that has to be available, in MiB; with less, or while processes wait "
        "for memory, VMs that stand ready are given back.",
    ),
    Setting("qemu.binary", "qemu-system-x86_64", "The QEMU program, a name or a path."),
    Setting(
        "qemu.accelerator",
        "auto",
        "auto: KVM where a guest really runs in it, else software emulation.",
        choices=("auto", "kvm", "tcg"),
    ),
    Setting(
        "qemu.user",
        "banger-vmm",
        "User that QEMU runs as when the daemon is root; 'nobody' when it does not exist.",
    ),
    Setting(
        "repl.editing",
        "emacs",
        "Keys of the shell's prompt.",
        choices=("emacs", "vi"),
    ),
    Setting("repl.mouse", False, "Whether the mouse moves the cursor in the shell's prompt."),
    Setting(
        "daemon.group",
        "",
        "Group that may use the daemon's socket beside its owner.",
    ),
    Setting(
        "daemon.log_level",
        "info",
        "How much the daemon writes into its log.",
        choices=("debug", "info", "warning", "error"),
    ),
)

FORMER_KEYS = {"vsock_ping_helper": "guest.agent", "banger-vsock-pingd": "guest.agent"}
"""What settings were called before. They stood in the file outside of a section."""


class Origin(msgspec.Struct, frozen=True):
    """A setting's value and where it comes from."""

    key: str
    value: Value
    origin: str
    help: str


class Settings:
    """All settings with their values. ``text`` and ``number`` read one by its key."""

    def __init__(self, origins: dict[str, Origin], remarks: tuple[str, ...] = ()) -> None:
        """``remarks`` are what whoever gave the settings should know."""
        self.origins = origins
        self.remarks = remarks

    def environment(self, prefix: str) -> dict[str, str]:
        """The settings whose keys begin so, as environment variables."""
        return {
            variable(key): str(origin.value)
            for key, origin in self.origins.items()
            if key.startswith(prefix)
        }

    def text(self, key: str) -> str:
        value = self.origins[key].value
        assert isinstance(value, str), key
        return value

    def number(self, key: str) -> int:
        value = self.origins[key].value
        assert isinstance(value, int), key
        return value

    def flag(self, key: str) -> bool:
        value = self.origins[key].value
        assert isinstance(value, bool), key
        return value
