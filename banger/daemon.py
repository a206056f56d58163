"""bangerd, the composition root: builds the actors, serves the socket.

It stops on SIGTERM or SIGINT and leaves the VMs running; the next daemon adopts them.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import logging.handlers
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import trio

import banger
from banger.actors.blocking import run_blocking
from banger.actors.event_log import EventLog
from banger.actors.event_ring import EventRing
from banger.actors.firewall import Dismantle as DismantleFirewall
from banger.actors.firewall import Firewall, FirewallState, PinTap
from banger.actors.fleet import Fleet
from banger.actors.images import Images
from banger.actors.keys import Keys
from banger.actors.plugin_host import Daemon, PluginHost
from banger.actors.plugin_services import PluginServices
from banger.actors.seed_shelf import Shelf, seed_store
from banger.actors.seeds import Seeds
from banger.actors.services import Services
from banger.actors.standby_pool import StandbyPool
from banger.actors.tap_pool import Dismantle, GetNetwork, Holding, ListUnknown, TapPool
from banger.api.backend import Backend
from banger.api.dispatch import handle
from banger.capabilities import guard
from banger.capabilities.builtin.work import WorkOptions
from banger.capabilities.interface import interface, setting_rows
from banger.capabilities.loader import Installed, find_capabilities
from banger.capabilities.recipes import find_builder
from banger.capabilities.registry import Registry
from banger.commands import vm_create, vm_set
from banger.doctor.context import DoctorContext
from banger.host import assets
from banger.host.image_files import image_store
from banger.host.keys import InstallationKey
from banger.host.memory_pressure import memory_pressure
from banger.host.paths import Paths, make_private
from banger.host.places import check_socket_path
from banger.host.user import group_id
from banger.kernel import wire
from banger.kernel.actor import Ref, sole_declared_error
from banger.kernel.bus import Bus
from banger.kernel.errors import BangerError, Conflict, HostNotReady
from banger.kernel.rpc import CallContext, Peer, RpcServer, listen
from banger.kernel.store import RecordStore, sweep_half_written
from banger.kernel.supervisor import Child, Supervisor
from banger.model.requests.any import AnyRequest
from banger.model.requests.exec import AnyFeed
from banger.model.settings import Settings
from banger.model.sizes import MIB
from banger.model.vm import RECORD_MIGRATIONS, RECORD_VERSION, VmRecord
from banger.settings import load_settings, parse_flags
from banger.vmm.base import DriverContext
from banger.vmm.registry import load_driver

log = logging.getLogger("banger.daemon")

LOG_LIMIT_BYTES = 4 << 20
DISMANTLE_DEADLINE_S = 1.0
TESTING_VARIABLE = "BANGER_TESTING"


async def run_daemon(
    paths: Paths, settings: Settings, installed: list[Installed], ready: int | None
) -> None:
    """Serve until told to stop. ``ready`` is a descriptor to report success on."""
    with guard.alarm_clock() as wind:
        await _run_daemon(paths, settings, installed, ready, wind)


async def _run_daemon(
    paths: Paths,
    settings: Settings,
    installed: list[Installed],
    ready: int | None,
    wind: Callable[[], None],
) -> None:
    group = _socket_group(settings)
    bus = Bus()
    events = EventRing()
    vms = RecordStore(
        paths.vms,
        VmRecord,
        version=RECORD_VERSION,
        migrations=RECORD_MIGRATIONS,
        key_of=lambda vm: vm.name,
    )
    standby_store = RecordStore(paths.standby, VmRecord, version=RECORD_VERSION)
    images = image_store(paths.images)

    def vm_records() -> list[VmRecord]:
        return list(vms.load_all()[0].values())

    def all_records() -> list[VmRecord]:
        """With those of the VMs that are kept ready."""
        return [*vm_records(), *standby_store.load_all()[0].values()]

    driver = load_driver(settings.text("vm.driver"), DriverContext(settings, paths))
    stop = trio.Event()
    failed: list[Child] = []

    def give_up(child: Child) -> None:
        failed.append(child)
        stop.set()

    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(nursery, on_give_up=give_up)
        supervisor.start("event-log", lambda: EventLog(paths.event_log, bus, events))
        taps = supervisor.start(
            "tap-pool",
            lambda: TapPool(
                bridge_name=settings.text("network.bridge"),
                wanted_subnet=settings.text("network.subnet"),
                subnet_file=paths.state / "subnet",
                size=settings.number("tap_pool.size"),
                holdings=lambda: [Holding(vm.id, vm.address) for vm in all_records()],
            ),
        )
        recovered = trio.Event()
        firewall_state = FirewallState()
        firewall = supervisor.start(
            "firewall",
            lambda: Firewall(
                bridge=settings.text("network.bridge"),
                network=lambda: taps.ref.ask(GetNetwork()),
                state=firewall_state,
                recovered=recovered,
                bus=bus,
            ),
        )
        image_actor = supervisor.start(
            "images",
            lambda: Images(
                images,
                bus,
                vms=vm_records,
                find_builder=find_builder,
                environment=settings.environment("capabilities."),
                state=paths.state,
                preset=settings.text("vm.image"),
            ),
        )
        key = await run_blocking(InstallationKey, paths.identity)
        parts = Daemon(settings, paths, key, bus, taps.ref, firewall.ref)
        registry = Registry(installed, lambda name: PluginHost(parts, name))
        parts.registry = registry
        nursery.start_soon(guard.keep_wound, wind)
        plugin_services = PluginServices(nursery, registry, parts)
        seeds = supervisor.start(
            "seeds",
            lambda: Seeds(
                Shelf(seed_store(paths.seeds), vms=all_records),
                driver,
                paths,
                bus,
                work_bytes=_work_bytes(settings),
                enabled=settings.text("vm.warm_seeds") == "auto",
            ),
        )
        standby = supervisor.start(
            "standby",
            lambda: StandbyPool(
                services,
                standby_store,
                size=settings.number("standby.size"),
                pressure=lambda: memory_pressure(settings.number("standby.reserve_mib") * MIB),
            ),
        )
        services = Services(
            store=vms,
            driver=driver,
            taps=taps.ref,
            seeds=seeds.ref,
            standby=standby.ref,
            bus=bus,
            paths=paths,
            capabilities=registry,
            stop_timeout_s=settings.number("vm.stop_timeout_s"),
            pin_unknown=lambda: _pin_unknown(taps.ref, firewall.ref),
            recovered=recovered,
        )
        fleet = supervisor.start("fleet", lambda: Fleet(services))
        parts.fleet = fleet.ref
        key_actor = supervisor.start(
            "keys", lambda: Keys(key, fleet=fleet.ref, bus=bus, recovered=recovered)
        )
        plugin_services.start()
        backend = Backend(
            fleet=fleet.ref,
            images=image_actor.ref,
            taps=taps.ref,
            seeds=seeds.ref,
            standby=standby.ref,
            capabilities=registry,
            doctor=DoctorContext(
                settings=settings,
                paths=paths,
                driver=driver,
                fleet=fleet.ref,
                taps=taps.ref,
                images=image_actor.ref,
                firewall=firewall.ref,
                registry=registry,
                vms=vms,
                standby=standby.ref,
                standby_vms=standby_store,
            ),
            bus=bus,
            events=events,
            settings=settings,
            socket=str(paths.socket),
            key=key,
            keys=key_actor.ref,
            accelerator=lambda: driver.accelerator,
            testing=bool(os.environ.get(TESTING_VARIABLE)),
            stop=stop,
        )
        async with _serving(paths, backend, group):
            log.info("bangerd %s is ready at %s", banger.__version__, paths.socket)
            if ready is not None:
                os.write(ready, b"ready\n")
                os.close(ready)
            await _told_to_stop(backend.stop)
        # The VMs' actors first: from then on nothing asks for a TAP.
        await fleet.stop()
        await standby.stop()
        await plugin_services.stop()
        with trio.move_on_after(DISMANTLE_DEADLINE_S):
            try:
                await firewall.ref.ask(DismantleFirewall())
                await taps.ref.ask(Dismantle())
            except BangerError as error:
                log.warning("idle TAPs or firewall tables were left: %s", error)
        nursery.cancel_scope.cancel()
    for child in failed:
        # Without it the daemon is of no use; whoever starts it again starts afresh.
        raise BangerError(f"{child.ref.name} crashed too often, at last with {child.failure!r}")


def _work_bytes(settings: Settings) -> int:
    """What most work disks have; what is wrong with the setting the capability says."""
    try:
        return WorkOptions(size=settings.text("capabilities.work.size")).size_bytes
    except (KeyError, ValueError):
        return WorkOptions().size_bytes


async def _pin_unknown(taps: Ref, firewall: Ref) -> None:
    try:
        for pin in await taps.ask(ListUnknown()):
            await firewall.ask(PinTap(pin))
    except BangerError as error:
        log.warning("VMs whose records can't be read are not held to their addresses: %s", error)


@asynccontextmanager
async def _serving(paths: Paths, backend: Backend, group: int | None) -> AsyncIterator[None]:
    """Accept connections while the body runs."""
    server = RpcServer(
        requests=AnyRequest,
        inputs=AnyFeed,
        handle=lambda request, context: _handle(backend, request, context),
        hello=wire.Hello(wire.PROTOCOL, banger.__version__, os.getpid()),
        authorize=lambda peer: _may_use(peer, group),
    )
    with _socket(paths, group) as sock:
        listener = listen(sock)
        async with listener, trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, listener)
            yield
            nursery.cancel_scope.cancel()


async def _handle(backend: Backend, request: object, context: CallContext) -> object:
    log.debug("pid %d: %r", context.peer.pid, request)
    return await handle(backend, request, context)


async def _told_to_stop(by_client: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def on_signal() -> None:
                async for number in signals:
                    log.info("stopping on %s", signal.Signals(number).name)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(on_signal)
            await by_client.wait()
            log.info("stopping: a client asked, or an actor was given up")
            nursery.cancel_scope.cancel()


def _may_use(peer: Peer, group: int | None) -> bool:
    return peer.uid in (0, os.geteuid()) or group in peer.groups


def _socket_group(settings: Settings) -> int | None:
    name = settings.text("daemon.group")
    if not name:
        return None
    group = group_id(name)
    if group is None:
        raise HostNotReady(f"setting daemon.group: there is no group {name!r}")
    return group


@contextmanager
def _socket(paths: Paths, group: int | None) -> Iterator[socket.socket]:
    """The bound socket, 0660. The lock is ours, so one found there is nobody's."""
    check_socket_path(paths.socket)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        paths.socket.unlink(missing_ok=True)
        sock.bind(str(paths.socket))
        try:
            if group is not None:
                shutil.chown(paths.socket, group=group)
                shutil.chown(paths.runtime, group=group)
            paths.socket.chmod(0o660)
            sock.listen(128)
            yield sock
        finally:
            paths.socket.unlink(missing_ok=True)


@contextmanager
def _locked(paths: Paths) -> Iterator[None]:
    """One daemon an instance: the lock decides, and goes with the process."""
    fd = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, 20, 0).decode(errors="replace").strip()
            raise Conflict(f"a daemon is running already, pid {owner}") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _make_directories(paths: Paths) -> None:
    make_private(paths.runtime, 0o750)
    make_private(paths.vm_runtime)
    make_private(paths.state)
    paths.vms.mkdir(exist_ok=True, mode=0o700)
    paths.standby.mkdir(exist_ok=True, mode=0o700)
    paths.images.mkdir(parents=True, exist_ok=True, mode=0o755)
    paths.seeds.mkdir(exist_ok=True, mode=0o700)


def _start_logging(paths: Paths, level: str, *, foreground: bool) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if not foreground:
        handler = logging.handlers.RotatingFileHandler(
            paths.daemon_log, maxBytes=LOG_LIMIT_BYTES, backupCount=1
        )
    logging.basicConfig(
        level=level.upper(),
        handlers=[handler],
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def _own_flags() -> set[str]:
    commands = (vm_create.COMMAND, vm_set.COMMAND)
    return {flag for command in commands for option in command.options for flag in option.flags}


def _load(paths: Paths, flags: Mapping[str, object]) -> tuple[Settings, list[Installed]]:
    """The settings, with those of the plugins, which settings may turn off."""
    own = load_settings(paths.config_file, os.environ, flags)
    off = [name.strip() for name in own.text("plugins.disabled").split(",")]
    with guard.alarm_clock():
        installed = find_capabilities(turned_off=off, own_flags=_own_flags())
    rows = setting_rows(installed)
    return load_settings(paths.config_file, os.environ, flags, plugins=rows), installed


def main() -> None:
    """``bangerd``: run in the foreground."""
    parser = argparse.ArgumentParser(prog="bangerd", description="banger's daemon")
    parser.add_argument("--version", action="version", version=banger.__version__)
    parser.add_argument("--log-file", action="store_true", help="log to a file, not to stderr")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="use this value of a setting",
    )
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        "--interface",
        action="store_true",
        help="print what the installed plugins add to the command line, as JSON, and exit",
    )
    arguments = parser.parse_args()
    os.umask(0o077)
    try:
        paths = Paths.here()
        flags = parse_flags(arguments.set)
        settings, installed = _load(paths, flags)
        if arguments.interface:
            document = msgspec.json.encode(interface(installed))
            sys.stdout.write(document.decode() + "\n")
            return
        _make_directories(paths)
        with _locked(paths):
            level = settings.text("daemon.log_level")
            _start_logging(paths, level, foreground=not arguments.log_file)
            for remark in settings.remarks:
                log.warning("%s", remark)
            for directory in (
                paths.state,
                paths.identity.parent,
                *paths.vms.iterdir(),
                *paths.standby.iterdir(),
            ):
                sweep_half_written(directory)
            agent = settings.text("guest.agent")
            assets.choose_agent(Path(agent) if agent else None)
            trio.run(run_daemon, paths, settings, installed, arguments.ready_fd)
    except Exception as error:
        declared = sole_declared_error(error)
        if declared is None:
            # Nobody reads the stderr of a daemon that a command has started.
            log.critical("bangerd ends by a bug", exc_info=error)
            raise
        sys.stderr.write(f"bangerd: {declared}\n")
        sys.exit(declared.exit_code)


if __name__ == "__main__":
    main()
