"""The capability in the daemon's hands, on a host in memory and addresses of loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from banger.capabilities import BangerError, Conflict, UsageError
from banger.testing import conformance
from banger.testing.life import InjectedFault
from dns_host import DnsDaemon

from banger_dns.capability import Dns


@pytest.fixture(autouse=True)
def any_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dns, "bridge_port", 0)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[DnsDaemon]:
    daemon = DnsDaemon(tmp_path)
    with trio.fail_after(20):
        async with daemon.serving():
            yield daemon
    assert not daemon.complaints


@pytest.mark.parametrize("options", [{}, {"alias": ["db", "api.web"]}, {"enabled": False}])
async def test_conformance(tmp_path: Path, options: dict[str, Any]) -> None:
    await conformance(Dns, tmp_path, options=options, settings={"port": 0})


async def test_names_follow_the_life_of_a_vm(daemon: DnsDaemon) -> None:
    vm = await daemon.create("web", {"alias": ["WWW.", "a.b"]})
    address = vm.vm.address
    wanted = {"web.vm": address, "a.b.vm": address, "www.vm": address}
    assert await daemon.names() == wanted
    await vm.change(alias=["db"])
    assert await daemon.names() == {"web.vm": address, "db.vm": address}
    await vm.change(enabled=False)
    assert await daemon.names() == {}
    await vm.change(enabled=True, alias=["none"])
    await vm.stop()
    assert await daemon.names() == {}
    await vm.change(alias=["www"])
    assert await daemon.names() == {}
    await vm.start()
    assert await daemon.names() == {"web.vm": address, "www.vm": address}
    await vm.crash()
    assert await daemon.names() == {}
    await vm.delete()


async def test_failed_start_leaves_no_name(daemon: DnsDaemon) -> None:
    for hook in ("prepare", "started"):
        with pytest.raises(InjectedFault):
            await daemon.create("web", {"alias": ["www"]}, fail_after=hook)
        assert await daemon.names() == {}
        await (await daemon.create("www")).delete()


async def test_failed_change_leaves_the_names(daemon: DnsDaemon) -> None:
    vm = await daemon.create("web", {"alias": ["www"]})
    before = await daemon.names()
    with pytest.raises(InjectedFault):
        await vm.change(alias=["other"], fail_after="changed")
    assert await daemon.names() == before
    await daemon.create("other")


@pytest.mark.parametrize(
    ("name", "alias", "reason"),
    [
        ("www", [], "'www' is taken: it is a DNS alias of VM 'web'"),
        ("new", ["x", "www"], "'www' is taken: it is a DNS alias of VM 'web'"),
        ("new", ["WEB"], "there is a VM 'web'"),
        ("new", ["rest"], "there is a VM 'rest'"),
        ("new", ["idle."], "'idle' is taken: it is a DNS alias of VM 'rest'"),
    ],
)
async def test_names_of_others_are_refused(
    daemon: DnsDaemon, name: str, alias: list[str], reason: str
) -> None:
    await daemon.create("web", {"alias": ["www"]})
    await daemon.create("rest", {"alias": ["idle"]}, start=False)
    before = await daemon.names()
    with pytest.raises(Conflict, match=reason):
        await daemon.create(name, {"alias": alias})
    # The same for a service that knows only what the records say.
    await daemon.restart()
    with pytest.raises(Conflict, match=reason):
        await daemon.create(name, {"alias": alias})
    assert await daemon.names() == before


async def test_name_is_free_once_its_vm_has_let_go(daemon: DnsDaemon) -> None:
    web = await daemon.create("web", {"alias": ["www", "old"]})
    await web.change(alias=["www"])
    old = await daemon.create("old")
    await daemon.create("hidden", {"enabled": False})
    await old.change(alias=["hidden"])
    await web.delete()
    await daemon.create("www")


@pytest.mark.parametrize("start", [True, False])
async def test_two_at_once_want_one_name(daemon: DnsDaemon, start: bool) -> None:
    failures: list[BangerError] = []

    async def create(name: str) -> None:
        try:
            await daemon.create(name, {"alias": ["shared"]}, start=start)
        except Conflict as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(create, name)
    (winner,) = daemon.lives
    assert len(failures) == 2
    assert all(f"alias of VM '{winner}'" in str(error) for error in failures)


async def test_two_changes_at_once_want_one_name(daemon: DnsDaemon) -> None:
    lives = [await daemon.create(name) for name in ("a", "b")]
    failures: list[BangerError] = []

    async def change(number: int) -> None:
        try:
            await lives[number].change(alias=["shared"])
        except Conflict as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change, 0)
        nursery.start_soon(change, 1)
    assert len(failures) == 1
    assert len(await daemon.names()) == 3


@pytest.mark.parametrize("alias", ["a..b", "", "-a", "ü", "a b", "x" * 64])
async def test_bad_aliases(daemon: DnsDaemon, alias: str) -> None:
    with pytest.raises(UsageError, match="--dns-alias"):
        await daemon.create("web", {"alias": [alias]})


@pytest.mark.parametrize(
    ("alias", "reason"), [("db.vm", "write 'db'"), (".".join(["x" * 62] * 4), "longer than 255")]
)
async def test_aliases_that_do_not_fit_the_zone(daemon: DnsDaemon, alias: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        await daemon.create("web", {"alias": [alias]})


async def test_what_the_guest_is_told(daemon: DnsDaemon) -> None:
    vm = await daemon.create("web")
    config = vm.guest.plan.config
    assert config.resolvers == [str(vm.vm.network.gateway.ip)]  # type: ignore[union-attr]
    assert config.search == ["vm"]
    assert vm.guest.hosts["web.vm"] == vm.vm.address
    hidden = await daemon.create("hidden", {"enabled": False})
    config = hidden.guest.plan.config
    assert (config.resolvers, config.search, config.hosts) == ([], [], [])


async def test_names_after_a_restart_of_the_daemon(daemon: DnsDaemon) -> None:
    await daemon.create("web", {"alias": ["www"]})
    await daemon.create("rest", start=False)
    before = await daemon.names()
    await daemon.restart()
    assert await daemon.names() == before


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"zone": ""}, "not a host name"),
        ({"zone": "10.in-addr.arpa"}, "arpa"),
        ({"zone": "localhost"}, "every machine's name for itself"),
        ({"port": 65536}, "65536 is no port"),
        ({"upstream": "one.one"}, "'one.one' is no address"),
    ],
)
def test_bad_settings(tmp_path: Path, settings: dict[str, object], reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        DnsDaemon(tmp_path, settings)


async def test_list(daemon: DnsDaemon) -> None:
    address = (await daemon.create("web", {"alias": ["www"]})).vm.address
    code, document, lines = await daemon.command("dns_list")
    assert (code, len(document)) == (0, 2)
    assert lines[1:] == [f"web.vm  {address}  web", f"www.vm  {address}  web"]
