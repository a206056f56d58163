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
from banger.model.requests.any import AnyRequest
from banger.model.requests.control import GetStatus, StopDaemon
from banger.model.requests.doctor import RunDoctor
from banger.model.requests.events import ReadEvents
from banger.model.requests.exec import Exec
from banger.model.requests.files import ListDirectory, MakeDirectory, ReadFile, WriteFile
from banger.model.requests.forks import ForkVm
from banger.model.requests.guests import GetHealth, GetSshAccess, ReadConsole
from banger.model.requests.images import (
    BuildImage,
    CancelBuild,
    ChooseDefaultImage,
    DeleteImage,
    ExportImage,
    ImportImage,
    ListImages,
    PruneImages,
    ReadBuildLog,
    RegisterImage,
    RenameImage,
    ShowImage,
)
from banger.model.requests.keys import RotateKey, ShowKey
from banger.model.requests.plugins import GetInterface, ListPlugins, RunPluginCommand
from banger.model.requests.runs import RunVm
from banger.model.requests.seeds import AwaitStandby, MeasureFloor, WarmImage
from banger.model.requests.snapshots import (
    CreateSnapshot,
    DeleteSnapshot,
    ListSnapshots,
    RestoreSnapshot,
)
from banger.model.requests.stats import ReadStats
from banger.model.requests.vms import (
    CreateVm,
    DeleteVm,
    ListVms,
    PauseVm,
    RestartVm,
    ResumeVm,
    SetVm,
    ShowVm,
    StartVm,
    StopVm,
    WaitVm,
)

HANDLERS: dict[type, Callable[[Backend, Any, CallContext], Awaitable[object]]] = {
    GetStatus: control.status,
    StopDaemon: control.stop,
    ReadEvents: events.read,
    CreateVm: vms.create,
    ListVms: vms.list_all,
    ShowVm: vms.show,
    StartVm: vms.start,
    StopVm: vms.stop,
    RestartVm: vms.restart,
    PauseVm: vms.pause,
    ResumeVm: vms.resume,
    CreateSnapshot: snapshots.create,
    ListSnapshots: snapshots.list_all,
    RestoreSnapshot: snapshots.restore,
    DeleteSnapshot: snapshots.delete,
    ForkVm: forks.fork,
    SetVm: vms.change,
    DeleteVm: vms.delete,
    WaitVm: vms.wait,
    GetHealth: vms.health,
    GetSshAccess: vms.ssh_access,
    ReadStats: stats.read,
    ReadConsole: vms.console,
    ShowKey: keys.show,
    RotateKey: keys.rotate,
    ListPlugins: plugins.list_all,
    GetInterface: plugins.interface,
    RunPluginCommand: plugins.run_command,
    RunDoctor: doctor.run,
    Exec: guests.execute,
    RunVm: runs.run,
    ReadFile: guests.read_file,
    WriteFile: guests.write_file,
    ListDirectory: guests.list_directory,
    MakeDirectory: guests.make_directory,
    ListImages: images.list_all,
    ShowImage: images.show,
    BuildImage: images.build,
    CancelBuild: images.cancel,
    ReadBuildLog: images.read_log,
    RegisterImage: images.register,
    ImportImage: images.import_image,
    DeleteImage: images.delete,
    RenameImage: images.rename,
    ChooseDefaultImage: images.choose_default,
    WarmImage: seeds.warm,
    MeasureFloor: seeds.measure,
    AwaitStandby: seeds.await_standby,
    PruneImages: images.prune,
    ExportImage: images.export,
}

assert set(HANDLERS) == set(get_args(AnyRequest))


async def handle(backend: Backend, request: object, context: CallContext) -> object:
    return await HANDLERS[type(request)](backend, request, context)
