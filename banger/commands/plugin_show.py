from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion
from banger.kernel.errors import NotFound
from banger.model.command import Option
from banger.model.requests.plugins import ListPlugins, PluginView
from banger.model.settings import Setting
from banger.model.text import printable


def run(context: Context, *, name: str) -> None:
    found = [view for view in context.call(ListPlugins()) if view.name == name]
    if not found:
        raise NotFound(
            f"there is no plugin {name!r}", hint="'banger plugin list' shows those there"
        )
    view = next((view for view in found if view.enabled), found[0])
    context.document(view)
    context.details([(key, printable(value)) for key, value in _lines(view)])
    if len(found) > 1:
        context.note(f"{len(found)} have this name; 'banger plugin list' shows the others")


def _lines(view: PluginView) -> list[tuple[str, str]]:
    return [
        ("name", view.name),
        ("kind", view.kind),
        ("summary", view.summary),
        ("from", f"{view.distribution} {view.version}".strip()),
        ("state", "on" if view.enabled else f"off: {view.reason}"),
        ("api", "-" if view.api_version is None else str(view.api_version)),
        ("hooks", ", ".join(view.hooks) or "-"),
        *(("command", f"banger {command}") for command in view.commands),
        *(("option", _option(option)) for option in view.options),
        *(("setting", _setting(setting)) for setting in view.settings),
    ]


def _option(option: Option) -> str:
    flags = ", ".join((*option.flags, *option.off_flags))
    value = " " + (option.metavar or "|".join(option.choices)) if not option.off_flags else ""
    return f"{flags}{value}".rstrip() + f"  {option.help}"


def _setting(setting: Setting) -> str:
    default = str(setting.default) or "''"
    return f"{setting.key} = {default}  {setting.help}"


COMMAND = Command(
    path=("plugin", "show"),
    summary="Show all that one plugin brings.",
    details="Of several with one name, the one in use.",
    run=run,
    reply=PluginView,
    arguments=(Argument("name", "Name of the plugin.", completion=Completion.PLUGIN),),
    examples=("banger plugin show qemu",),
)
