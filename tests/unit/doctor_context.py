"""What the doctor's checks look at, made by the test: directories, records, actors' answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from banger.actors.images import FindImage, GetDefault
from banger.actors.standby import ListStandby
from banger.capabilities.capability import AnyCapability
from banger.capabilities.check import Check
from banger.capabilities.loader import Installed
from banger.capabilities.registry import Registry
from banger.doctor.context import DoctorContext
from banger.host.image_files import ImageFiles, image_store
from banger.host.paths import Paths
from banger.kernel.errors import NotFound
from banger.kernel.message import Request
from banger.kernel.store import RecordStore
from banger.model.finding import Finding
from banger.model.image import DefaultImage, ImageRecord
from banger.model.settings import Value
from banger.model.vm import VmRecord, VmSpec, VmState, VmView
from banger.settings import load_settings

IMAGE = ImageRecord(
    id="debian-1",
    name="debian",
    recipe="debian",
    built_at=0.0,
    root_bytes=4096,
    kernel_version="6.1",
    distribution="Debian 12",
)


class FakeRef:
    """An actor that gives the answers it was given, by the request's type."""

    def __init__(self) -> None:
        self.answers: dict[type, object] = {}
        self.asked: list[Request[Any]] = []

    async def ask(self, request: Request[Any]) -> object:
        self.asked.append(request)
        answer = self.answers.get(type(request))
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeDriver:
    name = "fake"
    accelerator: str | None = None


class Host:
    """An installation below ``root``, and the context of its doctor."""

    def __init__(self, root: Path) -> None:
        root = root.resolve()
        self.paths = Paths(root / "config", root / "state", root / "cache", root / "run")
        for path in (self.paths.vms, self.paths.images, self.paths.vm_runtime):
            path.mkdir(parents=True)
        self.settings: dict[str, Value] = {}
        self.driver = FakeDriver()
        self.fleet, self.taps, self.images, self.firewall, self.standby = (
            FakeRef() for _ in range(5)
        )
        self.standby.answers[ListStandby] = []
        self.standby_store = RecordStore(self.paths.standby, VmRecord)
        self.store = RecordStore(self.paths.vms, VmRecord, key_of=lambda vm: vm.name)
        self.installed: list[Installed] = []
        self.capabilities: dict[str, object] = {}

    @property
    def context(self) -> DoctorContext:
        registry = Registry(self.installed, lambda name: cast(Any, None))
        registry.active.update(cast(Mapping[str, AnyCapability], self.capabilities))
        settings = load_settings(
            self.paths.config_file, {}, {key: str(value) for key, value in self.settings.items()}
        )
        return DoctorContext(
            settings=settings,
            paths=self.paths,
            driver=cast(Any, self.driver),
            fleet=cast(Any, self.fleet),
            taps=cast(Any, self.taps),
            images=cast(Any, self.images),
            firewall=cast(Any, self.firewall),
            registry=registry,
            vms=self.store,
            standby=cast(Any, self.standby),
            standby_vms=self.standby_store,
        )

    def add_vm(self, name: str, vm_id: str, state: VmState = VmState.RUNNING) -> VmRecord:
        record = VmRecord(
            id=vm_id,
            name=name,
            spec=VmSpec("debian", 1, 256, 64 << 20),
            image_id=IMAGE.id,
            state=state,
            created_at=0.0,
            address="",
            mac="",
            driver="fake",
        )
        self.store.save(name, record)
        return record

    def add_image(self) -> ImageFiles:
        """A whole image, and its actor's answer."""
        image_store(self.paths.images).save(IMAGE.id, IMAGE)
        files = ImageFiles.of(self.paths.images / IMAGE.id)
        for path in (files.root, files.kernel, files.modules):
            path.write_bytes(b"x" * IMAGE.root_bytes)
            path.chmod(0o644)
        self.images.answers[FindImage] = IMAGE
        return files

    def lacks_image(self) -> None:
        self.images.answers[FindImage] = NotFound("there is no image 'debian'", hint="build it")
        self.images.answers[GetDefault] = DefaultImage("debian", "setting", False)


def view(name: str, state: VmState, **changes: Any) -> VmView:
    fields: dict[str, Any] = {
        "name": name,
        "state": state,
        "image": "debian",
        "address": "",
        "mac": "",
        "pid": None,
        "vcpus": 1,
        "memory_mib": 256,
        "disk_bytes": 0,
        "disk_allocated_bytes": 0,
        "created_at": "",
        "id": "",
        "driver": "fake",
        "accelerator": None,
        "tap": None,
        "reason": "",
        "labels": {},
        "options": {},
    }
    return VmView(**(fields | changes))


async def finding_of(check: Check) -> Finding:
    """What it finds, when that is one thing."""
    (finding,) = await check.run()
    return finding
