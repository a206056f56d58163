"""How the host looks up names: finding out, checks, recipes, systemd-resolved."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterable
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import trio
import trio.testing
from banger.capabilities import CommandFailed, HostNotReady
from dns.rcode import NXDOMAIN
from dns_fakes import Message, Reply, answering, reply_to, upstreams
from dns_host import NETWORK, DnsDaemon

from banger_dns import capability
from banger_dns.capability import Dns
from banger_dns.host_resolver import HostResolver
from banger_dns.host_setup import Manager, detect, recipe, undo_recipe
from banger_dns.watch import Watch

STUB = "nameserver 127.0.0.53\n"
PLAIN = "nameserver 192.0.2.53\n"


@pytest.fixture(autouse=True)
def own_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dns, "bridge_port", 0)
    monkeypatch.setattr(Dns, "root", tmp_path)
    monkeypatch.setattr(HostResolver, "runtime", tmp_path / "run/systemd/resolve")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[DnsDaemon]:
    daemon = DnsDaemon(tmp_path / "state")
    with trio.fail_after(20):
        async with daemon.serving():
            yield daemon


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "resolved_runs", "manager"),
    [
        ({}, False, Manager.PLAIN),
        ({"etc/resolv.conf": PLAIN}, True, Manager.PLAIN),
        ({"etc/resolv.conf": STUB}, True, Manager.RESOLVED),
        ({"etc/resolv.conf": STUB}, False, Manager.PLAIN),
        (
            {"etc/resolv.conf": PLAIN, "etc/nsswitch.conf": "hosts: files resolve dns\n"},
            True,
            Manager.RESOLVED,
        ),
        (
            {"etc/NetworkManager/conf.d/dns.conf": "[main]\ndns=dnsmasq\n"},
            False,
            Manager.NETWORK_MANAGER,
        ),
        ({"etc/NetworkManager/NetworkManager.conf": "#dns=dnsmasq\n"}, False, Manager.PLAIN),
    ],
)
def test_who_answers_the_host(
    tmp_path: Path, files: dict[str, str], resolved_runs: bool, manager: Manager
) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    assert detect(resolved_runs=resolved_runs, root=tmp_path) is manager


def test_dnsmasq_is_known_by_its_socket(tmp_path: Path) -> None:
    write(tmp_path / "etc/resolv.conf", "nameserver 127.0.0.1\n")
    proc = tmp_path / "proc"
    line = "  0: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2"
    write(proc / "net/udp", f"header\n{line}\n")
    write(proc / "99/comm", "dnsmasq\n")
    (proc / "99/fd").mkdir()
    (proc / "99/fd/4").symlink_to("socket:[4711]")
    assert detect(resolved_runs=False, root=tmp_path) is Manager.DNSMASQ
    write(proc / "99/comm", "unbound\n")
    assert detect(resolved_runs=False, root=tmp_path) is Manager.PLAIN


@pytest.mark.parametrize("manager", [m for m in Manager if m is not Manager.RESOLVED])
def test_recipes_are_shell(manager: Manager) -> None:
    subnet = IPv4Network("172.31.0.0/22")
    made = recipe(manager, zone="vm", bridge="banger0", address="172.31.0.1", subnet=subnet)
    for lines in (made, undo_recipe(manager)):
        assert lines
        subprocess.run(["bash", "-n"], input="\n".join(lines).encode(), check=True)


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq is not installed")
@pytest.mark.parametrize("manager", [Manager.DNSMASQ, Manager.NETWORK_MANAGER])
def test_dnsmasq_takes_its_recipe(tmp_path: Path, manager: Manager) -> None:
    subnet = IPv4Network("172.31.0.0/22")
    made = recipe(manager, zone="vm", bridge="banger0", address="172.31.0.1", subnet=subnet)
    begin, end = next(n for n, line in enumerate(made) if "<<" in line), made.index("END")
    (tmp_path / "banger.conf").write_text("\n".join(made[begin + 1 : end]))
    subprocess.run(["dnsmasq", "--test", f"--conf-file={tmp_path}/banger.conf"], check=True)


async def test_recipe_is_shown_where_banger_may_not_change_things(daemon: DnsDaemon) -> None:
    code, document, lines = await daemon.command("dns_install", undo=None, manager="dnsmasq")
    assert (code, document.done, document.manager) == (1, False, "dnsmasq")
    assert f"server=/vm/{NETWORK.gateway.ip}" in lines
    code, document, _ = await daemon.command("dns_install", undo=True, manager="dnsmasq")
    assert (code, document.recipe[0]) == (1, "rm -f /etc/dnsmasq.d/banger.conf")


def answer_as_told(daemon: DnsDaemon, *, told: bool = True) -> None:
    """Let the fake resolvectl say that it has what it was told."""
    wanted = {"dns": str(NETWORK.gateway.ip), "domain": "~vm", "default-route": "no"}
    for verb, value in wanted.items():
        said = f"Link 1 (lo): {value if told else ''}\n"
        daemon.host.programs.answer("resolvectl", "--no-pager", verb, "lo", stdout=said)
        daemon.host.programs.answer("resolvectl", "--no-pager", verb, "lo", value)


def told(daemon: DnsDaemon) -> list[str]:
    """What resolvectl was told, rather than asked."""
    calls = [argv[2:] for argv in daemon.host.programs.ran if argv[0] == "resolvectl"]
    return [" ".join(call) for call in calls if len(call) == 3 or call[0] == "revert"]


ALL = [
    f"dns lo {NETWORK.gateway.ip}",
    "domain lo ~vm",
    "default-route lo no",
    "dnssec lo no",
    "dnsovertls lo no",
]


async def test_resolved_is_told_and_told_again(
    daemon: DnsDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_as_told(daemon)
    code, document, _ = await daemon.command("dns_install", undo=None, manager="systemd-resolved")
    assert (code, document.done) == (0, True)
    assert told(daemon) == ALL
    ((level, summary),) = await daemon.findings("dns-host")
    assert (level, "systemd-resolved" in summary) == ("ok", True)
    await trio.testing.wait_all_tasks_blocked(0.05)
    # It was started anew, has forgotten, and writes its files.
    answer_as_told(daemon, told=False)
    ((level, _),) = await daemon.findings("dns-host")
    assert level == "warning"
    begun = trio.Event()

    def run(argv: tuple[str, ...], stdin: bytes = b"") -> object:
        if argv[-1] == "~vm":
            answer_as_told(daemon)
            begun.set()
        return real(argv, stdin)

    real = daemon.host.programs.run
    monkeypatch.setattr(daemon.host.programs, "run", run)
    write(tmp_path / "run/systemd/resolve/resolv.conf", PLAIN)
    await begun.wait()
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert told(daemon) == [*ALL, *ALL]


async def test_installation_survives_the_daemon_until_it_is_undone(daemon: DnsDaemon) -> None:
    answer_as_told(daemon)
    await daemon.command("dns_install", undo=None, manager="systemd-resolved")
    answer_as_told(daemon, told=False)
    await daemon.restart()
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert told(daemon)[len(ALL) :][: len(ALL)] == ALL
    await daemon.command("dns_install", undo=True, manager="systemd-resolved")
    assert told(daemon)[-1] == "revert lo"
    before = told(daemon)
    await daemon.restart()
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert told(daemon) == before


async def test_resolved_that_refuses(daemon: DnsDaemon) -> None:
    daemon.host.programs.answer("resolvectl", code=1, stderr="Unit not found.\n")
    with pytest.raises(CommandFailed, match=r"Unit not found\."):
        await daemon.command("dns_install", undo=None, manager="systemd-resolved")
    daemon.host.programs.refuse("resolvectl", error=HostNotReady("resolvectl is not installed"))
    with pytest.raises(HostNotReady):
        await daemon.command("dns_install", undo=None, manager="systemd-resolved")
    assert not list(daemon.host.directory.iterdir())


@pytest.mark.parametrize("exists", [True, False])
async def test_watch_sees_files(tmp_path: Path, exists: bool) -> None:
    directory = tmp_path / "run/resolve"
    if exists:
        directory.mkdir(parents=True)
    with trio.fail_after(5), Watch("lo", directory) as watch:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.changed)
            await trio.testing.wait_all_tasks_blocked()
            write(directory / "resolv.conf", PLAIN)
    assert not [entry for entry in Path("/proc/self/fd").iterdir() if _is_inotify(entry)]


def _is_inotify(descriptor: Path) -> bool:
    try:
        return "inotify" in str(descriptor.readlink())
    except OSError:
        return False


@pytest.mark.parametrize(
    ("search", "zone", "level"),
    [
        ("search corp.example\n", "vm", "ok"),
        ("search vm\nsearch corp.example\n", "vm", "ok"),
        ("search other.example corp.example\n", "corp.example", "warning"),
        ("domain a.corp.example\n", "corp.example", "warning"),
        ("search corp.example\n", "vm.corp.example", "ok"),
        ("", "vm.local", "warning"),
    ],
)
async def test_zone_that_hides_names(tmp_path: Path, search: str, zone: str, level: str) -> None:
    write(tmp_path / "etc/resolv.conf", search)
    async with upstreams(answering(rcode=NXDOMAIN)) as (fake,):
        upstream = f"{fake.resolver.address}:{fake.resolver.port}"
        daemon = DnsDaemon(tmp_path / "state", {"zone": zone, "upstream": upstream})
        ((found, _),) = await daemon.findings("dns-zone")
        assert found == level


async def test_zone_that_is_somebody_elses(tmp_path: Path) -> None:
    def dev(query: Message, tcp: bool) -> Iterable[Reply]:
        return [reply_to(query, "@ 60 SOA ns.dev. root.dev. 1 2 3 4 5")]

    async with upstreams(dev) as (fake,):
        upstream = f"{fake.resolver.address}:{fake.resolver.port}"
        daemon = DnsDaemon(tmp_path / "state", {"zone": "dev", "upstream": upstream})
        ((level, summary),) = await daemon.findings("dns-zone")
        assert (level, "knows a domain dev" in summary) == ("warning", True)


@pytest.mark.parametrize(("resolvers", "level"), [("192.0.2.53", "ok"), ("", "warning")])
async def test_no_resolver_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolvers: str, level: str
) -> None:
    monkeypatch.setattr(capability, "HostResolvers", lambda: lambda: ())
    daemon = DnsDaemon(tmp_path, {"upstream": resolvers})
    async with daemon.serving():
        ((found, _),) = await daemon.findings("dns-resolvers")
    assert found == level


async def test_a_resolver_that_is_ourselves(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        free_port = sock.getsockname()[1]
    ours = f"127.0.0.1:{free_port}"
    for upstream, level in ((ours, "failed"), (f"192.0.2.53,{ours}", "warning")):
        daemon = DnsDaemon(tmp_path / level, {"upstream": upstream, "port": free_port})
        async with daemon.serving():
            ((found, summary),) = await daemon.findings("dns-resolvers")
        assert (found, "banger itself" in summary) == (level, True)


@pytest.mark.parametrize(
    ("address", "level"), [("192.0.2.1", "finds names"), ("192.0.2.2", "does not look up")]
)
async def test_whether_the_host_finds_names(
    daemon: DnsDaemon, monkeypatch: pytest.MonkeyPatch, address: str, level: str
) -> None:
    vm = await daemon.create("web")
    found = vm.vm.address if address == "192.0.2.1" else address

    def look_up(name: str, port: None, family: int) -> object:
        assert name == "web.vm"
        return [(family, 1, 6, "", (found, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    ((_, summary),) = await daemon.findings("dns-host")
    assert level in summary
