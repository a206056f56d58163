"""Plugins: which there are, what they add, their commands."""

from __future__ import annotations

from importlib.metadata import entry_points

import msgspec

from banger.api.backend import Backend
from banger.capabilities import guard
from banger.capabilities.capability import HOOKS, AnyCapability, overrides
from banger.capabilities.command import CommandCall, commands_of
from banger.capabilities.interface import interface as interface_of
from banger.capabilities.interface import option_rows, setting_rows
from banger.capabilities.loader import Installed
from banger.host.distributions import owner
from banger.kernel.errors import BangerError, HostNotReady, NotFound
from banger.kernel.rpc import CallContext
from banger.model.requests import plugins as requests
from banger.model.requests.exec import Output
from banger.model.requests.plugins import CommandEnded, Interface, PluginView

OTHER_KINDS = {"banger.vmm": "driver", "banger.images": "image builder"}
TEXT_BYTES = 64 << 10


async def list_all(
    backend: Backend, request: requests.ListPlugins, context: CallContext
) -> list[PluginView]:
    registry = backend.capabilities
    views = [_view(item, registry.reason(item)) for item in registry.installed]
    for group, kind in OTHER_KINDS.items():
        for entry in entry_points(group=group):
            name, version = owner(group, entry)
            used = group != "banger.vmm" or entry.name == backend.settings.text("vm.driver")
            reason = "" if used else "not chosen by the setting vm.driver"
            views.append(PluginView(entry.name, kind, name, version, "", used, reason))
    return sorted(views, key=lambda view: (view.kind, view.name))


def _view(item: Installed, reason: str) -> PluginView:
    found: type[AnyCapability] | None = item.found
    view = PluginView(
        item.name, "capability", item.distribution, item.version, "", not reason, reason
    )
    if found is None:
        return view
    return msgspec.structs.replace(
        view,
        summary=found.summary,
        api_version=found.api_version,
        hooks=[hook for hook in HOOKS if overrides(found, hook)],
        options=[row.option for row in option_rows(item.name, found)],
        settings=setting_rows([item]),
        commands=[" ".join(syntax.path) for syntax, _ in commands_of(found)],
    )


async def interface(
    backend: Backend, request: requests.GetInterface, context: CallContext
) -> Interface:
    registry = backend.capabilities
    return interface_of([item for item in registry.installed if item.name in registry.active])


async def run_command(
    backend: Backend, request: requests.RunPluginCommand, context: CallContext
) -> CommandEnded:
    async def write(text: str) -> None:
        data = text.encode(errors="replace")
        for at in range(0, len(data), TEXT_BYTES):
            await context.send(Output(data[at : at + TEXT_BYTES]))

    capability, method = _find(backend, request.path)
    call = CommandCall(request.parameters, write)
    try:
        code = await guard.call_async(lambda: getattr(capability, method)(call))
        return CommandEnded(code, msgspec.json.encode(call.document))
    except guard.Misbehaved as error:
        raise BangerError(f"command of capability {capability.name!r} {error}") from None


def _find(backend: Backend, path: list[str]) -> tuple[AnyCapability, str]:
    for capability in backend.capabilities.active.values():
        for syntax, method in commands_of(type(capability)):
            if list(syntax.path) == path:
                return capability, method
    for item in backend.capabilities.installed:
        for syntax, _ in commands_of(item.found or object):
            if list(syntax.path) == path:
                reason = backend.capabilities.reason(item)
                raise HostNotReady(f"capability {item.name!r} is off: {reason}")
    raise NotFound(f"no plugin has a command {' '.join(path)!r}")
