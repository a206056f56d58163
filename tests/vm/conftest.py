"""Real guests, in a network namespace of this process's own.

VMs are shared between tests, for a guest needs seconds to boot: ``box`` is one that runs,
``instance`` is the installation most tests use, ``new_instance`` makes another one where a
test would disturb the others. Each instance is checked for what it leaves on the host.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from banger.host.paths import Paths
from tests import private_network
from tests.vm.instance import COMMAND, Instance
from tests.vm.leaks import Footprint

private_network.enter()
# A shell that starts us in the background has it ignored, and so would our clients.
signal.signal(signal.SIGINT, signal.default_int_handler)

TEST_DEADLINE_S = 120
WARM = {"BANGER_VM_WARM_SEEDS": "auto"}

NewInstance = Callable[..., Instance]

_live: list[Instance] = []
_facts: list[str] = []


@pytest.fixture(scope="session", autouse=True)
def own_network_namespace() -> None:
    """Skip, or fail under CI=true, without a network namespace of our own."""
    private_network.require("the tests with real guests (tests/vm)")
    if not Path(COMMAND).exists():
        pytest.fail(f"{COMMAND} is missing: run 'make venv' first", pytrace=False)


@pytest.fixture(scope="session")
def images(own_network_namespace: None) -> Path:
    """Where the images are that the instances get."""
    chosen = os.environ.get("BANGER_TEST_CACHE")
    directory = Path(chosen) / "banger/images" if chosen else Paths.here().images
    if not any(directory.glob("debian-*/record.json")):
        pytest.fail(f"no image in {directory}: run 'make image' first", pytrace=False)
    return directory


COLD = {
    *("test_create", "test_file_systems", "test_host_not_ready", "test_images", "test_import"),
    *("test_json", "test_plugins", "test_recipes", "test_repl", "test_tui", "test_void"),
    *("test_standby", "test_warm", "test_warm_faults"),
}
"""Modules whose VMs are booted: of other images than the one there is a seed of, with a plugin that
is asked early, on hosts that lack something, where what a guest writes while it boots is looked at,
where the numbers of seeds would change between two looks, or with seeds that the tests themselves
see to. `test_warm` has the like of what `test_create` is about."""

BOTH_WAYS = {
    *("test_console", "test_disk", "test_network", "test_pause", "test_power"),
    *("test_snapshots", "test_ssh", "test_work_disk"),
}
"""Modules about what a guest does: all of it must be the same in one that began in a warm seed.

The others are about the daemon, the host and the clients. Their VMs are warm, as most are that
users make.
"""

SELDOM_COLD = {
    *("test_copy", "test_crash", "test_dns", "test_exec", "test_faults", "test_firewall"),
    *("test_lifetime", "test_nat", "test_stats", "test_terminal"),
}
"""Like `BOTH_WAYS`, but for the time that it takes only where it is asked for: `make test-ways`."""

if os.environ.get("BANGER_TEST_WAYS") == "all":
    BOTH_WAYS |= SELDOM_COLD


@pytest.fixture(scope="session")
def way(request: pytest.FixtureRequest) -> str:
    """How VMs begin that nobody says more of: ``cold``, booted, or ``warm``, in a seed."""
    return str(request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "way" in metafunc.fixturenames:
        module = metafunc.module.__name__.rpartition(".")[2]
        if module in BOTH_WAYS:
            metafunc.parametrize("way", ["cold", "warm"], indirect=True, scope="session")
        else:
            only = "cold" if module in COLD else "warm"
            hidden = [pytest.HIDDEN_PARAM]
            metafunc.parametrize("way", [only], indirect=True, scope="session", ids=hidden)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First all that is cold, so that each process changes its shared instance only once."""

    def is_warm(item: pytest.Item) -> bool:
        callspec = getattr(item, "callspec", None)
        return callspec is not None and callspec.params.get("way") == "warm"

    items.sort(key=is_warm)


class _ByFileAndWay(LoadScopeScheduling):  # type: ignore[misc]
    """Hands a process all tests of a file and a way, in the order in which they were collected.

    xdist's own ``loadgroup`` finds no group under pytest 9.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        return f"{file} warm" if "[warm" in test else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False
    return _ByFileAndWay(config, log)


@pytest.fixture(scope="session")
def instance(images: Path, way: str, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """The installation that most tests share. They leave no VM in it but the shared ones."""
    if way == "cold":
        yield from checked(Instance(images), "the shared instance")
    else:
        source: Instance = request.getfixturevalue("warm_instance")
        own = Instance(images, settings=WARM)
        own.take_seeds_of(source)
        yield from checked(own, "the shared instance, warm", warm=True)


@pytest.fixture(scope="session")
def warm_instance(images: Path) -> Iterator[Instance]:
    """One with a warm seed of the image, for VMs of the usual shape."""
    made = checked(Instance(images, network=True, settings=WARM), "the warm instance")
    instance = next(made)
    instance.run("image", "warm", "debian", timeout=TEST_DEADLINE_S)
    yield instance
    next(made, None)


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """A test that hangs fails, with the place where it hung."""

    def expired(*_: object) -> None:
        pytest.fail(f"not over after {TEST_DEADLINE_S} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(TEST_DEADLINE_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def ended_clients() -> Iterator[None]:
    """No command that a test started outlives it."""
    yield
    for instance in _live:
        instance.end_clients()


@pytest.fixture(scope="session")
def _seeds_from(way: str, request: pytest.FixtureRequest) -> Instance | None:
    """Whose seeds a new instance gets."""
    return request.getfixturevalue("warm_instance") if way == "warm" else None


@pytest.fixture
def new_instance(images: Path, _seeds_from: Instance | None) -> Iterator[NewInstance]:
    """Makes installations with a network namespace of their own."""
    with _making(images, _seeds_from) as make:
        yield make


@pytest.fixture(scope="module")
def new_shared_instance(images: Path, _seeds_from: Instance | None) -> Iterator[NewInstance]:
    """Makes such that all tests of a module use in turn."""
    with _making(images, _seeds_from) as make:
        yield make


@contextmanager
def _making(images: Path, source: Instance | None) -> Iterator[NewInstance]:
    with_checks: list[Generator[Instance, None, None]] = []
    usual = {} if source is None else WARM

    def make(
        *, prefix: Sequence[str] = (), place: Path = Path("/tmp"), **settings: str
    ) -> Instance:
        chosen = {**usual, **settings}
        own = Instance(images, network=True, prefix=prefix, settings=chosen, place=place)
        if source is not None:
            own.take_seeds_of(source)
        warm = source is not None and "BANGER_VM_WARM_SEEDS" not in settings
        made = checked(own, "an own instance", warm=warm)
        with_checks.append(made)
        return next(made)

    yield make
    for made in with_checks:
        next(made, None)


def checked(
    instance: Instance, what: str, *, warm: bool = False
) -> Generator[Instance, None, None]:
    """The instance; after its use it is emptied and must have left nothing.

    ``warm``: and if VMs were begun in it, one of them was in a seed.
    """
    _live.append(instance)
    footprint = Footprint(instance)
    begun = time.monotonic()
    yield instance
    instance.end_clients()
    problems = _empty(instance)
    begun_as = [
        event["note"]
        for event in instance.logged()
        if event["type"] == "stage-finished" and event["stage"] == "seed"
    ]
    if warm and begun_as and not any(note.startswith("warm: ") for note in begun_as):
        problems.append(f"no VM began in a seed: {begun_as}")
    leaks = footprint.leaks()
    problems += [f"left behind: {leak}" for leak in leaks]
    if instance.holders == {os.getpid()}:
        ended = "nothing left on the host" if not leaks else f"{len(leaks)} LEAKS"
        _facts.append(f"{what}: {time.monotonic() - begun:.0f} s, {ended}")
    logs = "\n".join(f"--- {title}\n{text}" for title, text in instance.tails())
    _live.remove(instance)
    footprint.end_processes()
    instance.dispose()
    if problems:
        pytest.fail("\n".join([f"{what}:", *problems, logs]), pytrace=False)


def _empty(instance: Instance) -> list[str]:
    """Stop and delete all VMs and stop the daemon; what went wrong with that."""
    if instance.daemon_pid is None and not any(instance.paths.vms.glob("*")):
        return []
    listed = instance.run("vm", "list", "--json", code=None)
    if listed.returncode != 0:
        return [f"banger vm list: exit code {listed.returncode}: {listed.stderr}"]
    views = json.loads(listed.stdout)
    problems: list[str] = []
    if any(view["pid"] for view in views):
        problems += _failure(instance, "daemon", "stop", "--vms")
    if views:
        problems += _failure(instance, "vm", "delete", *[view["name"] for view in views])
    return problems + _failure(instance, "daemon", "stop")


def _failure(instance: Instance, *arguments: str) -> list[str]:
    try:
        done = instance.run(*arguments, code=None)
    except subprocess.TimeoutExpired as error:
        return [str(error)]
    if done.returncode == 0:
        return []
    return [f"banger {' '.join(arguments)}: exit code {done.returncode}: {done.stderr}"]


def _running(instance: Instance, name: str) -> str:
    """The name of a VM that runs now, made or started when needed."""
    if name not in instance.names():
        instance.run("vm", "create", "--name", name)
    elif instance.state(name) != "running":
        instance.run("vm", "start", name)
    return name


@pytest.fixture
def box(instance: Instance) -> str:
    """A running VM that all tests may use."""
    return _running(instance, "box")


@pytest.fixture
def other(instance: Instance) -> str:
    """A second one."""
    return _running(instance, "other")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for instance in _live:
            report.sections.extend(instance.tails())
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands its facts to the controller, which prints them."""
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["real guests"] = _facts


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _facts.extend(node.workeroutput.get("real guests", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for fact in _facts:
        terminalreporter.write_line(f"real guests: {fact}")
