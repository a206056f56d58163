"""The public API for plugins: what a capability is made of, and what it is handed.

docs/plugins.md walks from an empty folder to a working plugin. What is named neither here
nor in `banger.model` and `banger.testing` is banger's own and may change.
"""

from banger.capabilities.capability import API_VERSION, HOOKS, Capability
from banger.capabilities.check import Check
from banger.capabilities.command import CommandCall, command
from banger.capabilities.guest import GuestContribution
from banger.capabilities.host import (
    CommandResult,
    Firewall,
    Host,
    OwnSettings,
    Service,
    Step,
    Vm,
)
from banger.capabilities.options import Options, option
from banger.kernel.actor import Actor, Inbox, Ref
from banger.kernel.errors import (
    BangerError,
    CommandFailed,
    Conflict,
    GuestError,
    HostNotReady,
    NotFound,
    TimedOut,
    UsageError,
)
from banger.kernel.message import Request
from banger.model.command import Argument, Completion, Kind, Option, Syntax
from banger.model.finding import Finding, Level
from banger.model.firewall import Rules
from banger.model.machine import Card, DiskFormat, Drive
from banger.model.network import Network
from banger.model.settings import Setting
from banger.model.vm import Verb, VmState

__all__ = [
    "API_VERSION",
    "HOOKS",
    "Actor",
    "Argument",
    "BangerError",
    "Capability",
    "Card",
    "Check",
    "CommandCall",
    "CommandFailed",
    "CommandResult",
    "Completion",
    "Conflict",
    "DiskFormat",
    "Drive",
    "Finding",
    "Firewall",
    "GuestContribution",
    "GuestError",
    "Host",
    "HostNotReady",
    "Inbox",
    "Kind",
    "Level",
    "Network",
    "NotFound",
    "Option",
    "Options",
    "OwnSettings",
    "Ref",
    "Request",
    "Rules",
    "Service",
    "Setting",
    "Step",
    "Syntax",
    "TimedOut",
    "UsageError",
    "Verb",
    "Vm",
    "VmState",
    "command",
    "option",
]
