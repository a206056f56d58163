"""Every request there is."""

from __future__ import annotations

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

AnyRequest = (
    GetStatus
    | StopDaemon
    | ReadEvents
    | CreateVm
    | ListVms
    | ShowVm
    | StartVm
    | StopVm
    | RestartVm
    | PauseVm
    | ResumeVm
    | CreateSnapshot
    | ListSnapshots
    | RestoreSnapshot
    | DeleteSnapshot
    | ForkVm
    | SetVm
    | DeleteVm
    | WaitVm
    | ReadStats
    | ReadConsole
    | GetSshAccess
    | GetHealth
    | ShowKey
    | RotateKey
    | ListPlugins
    | GetInterface
    | RunPluginCommand
    | RunDoctor
    | Exec
    | RunVm
    | ReadFile
    | WriteFile
    | ListDirectory
    | MakeDirectory
    | ListImages
    | ShowImage
    | BuildImage
    | CancelBuild
    | ReadBuildLog
    | RegisterImage
    | ImportImage
    | DeleteImage
    | RenameImage
    | ChooseDefaultImage
    | WarmImage
    | MeasureFloor
    | AwaitStandby
    | PruneImages
    | ExportImage
)
