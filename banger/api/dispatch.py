"""Which handler answers which request. A request without one is found when the module loads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, get_args

from banger.api import (
    control,
    doctor,
    events,
    forks,
    guests,
    images,
    keys,
    plugins,
    runs,
    seeds,
    snapshots,
    stats,
    vms,
)
from banger.api.backend import Backend
from banger.kernel.rpc import CallContext
from banger.model import requests

HANDLERS: dict[type, Callable[[Backend, Any, CallContext], Awaitable[object]]] = {
    requests.GetStatus: control.status,
    requests.StopDaemon: control.stop,
    requests.ReadEvents: events.read,
    requests.CreateVm: vms.create,
    requests.ListVms: vms.list_all,
    requests.ShowVm: vms.show,
    requests.StartVm: vms.start,
    requests.StopVm: vms.stop,
    requests.RestartVm: vms.restart,
    requests.PauseVm: vms.pause,
    requests.ResumeVm: vms.resume,
    requests.CreateSnapshot: snapshots.create,
    requests.ListSnapshots: snapshots.list_all,
    requests.RestoreSnapshot: snapshots.restore,
    requests.DeleteSnapshot: snapshots.delete,
    requests.ForkVm: forks.fork,
    requests.SetVm: vms.change,
    requests.DeleteVm: vms.delete,
    requests.WaitVm: vms.wait,
    requests.GetHealth: vms.health,
    requests.GetSshAccess: vms.ssh_access,
    requests.ReadStats: stats.read,
    requests.ReadConsole: vms.console,
    requests.ShowKey: keys.show,
    requests.RotateKey: keys.rotate,
    requests.ListPlugins: plugins.list_all,
    requests.GetInterface: plugins.interface,
    requests.RunPluginCommand: plugins.run_command,
    requests.RunDoctor: doctor.run,
    requests.Exec: guests.execute,
    requests.RunVm: runs.run,
    requests.ReadFile: guests.read_file,
    requests.WriteFile: guests.write_file,
    requests.ListDirectory: guests.list_directory,
    requests.MakeDirectory: guests.make_directory,
    requests.ListImages: images.list_all,
    requests.ShowImage: images.show,
    requests.BuildImage: images.build,
    requests.CancelBuild: images.cancel,
    requests.ReadBuildLog: images.read_log,
    requests.RegisterImage: images.register,
    requests.ImportImage: images.import_image,
    requests.DeleteImage: images.delete,
    requests.RenameImage: images.rename,
    requests.ChooseDefaultImage: images.choose_default,
    requests.WarmImage: seeds.warm,
    requests.MeasureFloor: seeds.measure,
    requests.PruneImages: images.prune,
    requests.ExportImage: images.export,
}

assert set(HANDLERS) == set(get_args(requests.AnyRequest))


async def handle(backend: Backend, request: object, context: CallContext) -> object:
    return await HANDLERS[type(request)](backend, request, context)
