"""Names for real guests: seen from the host, from guests, and when things go wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.vm import leaks
from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance, wait_until

pytest.importorskip("banger_dns")

leaks.MEANT_TO_STAY |= {"state/banger/capabilities", "state/banger/capabilities/dns"}

UPSTREAM_PORT = "5399"
LOOPBACK_PORT = "5390"
FOREIGN, FOREIGN_ADDRESS = "www.example.org", "192.0.2.80"
IN_THE_SUBNET = "evil.example.org"

# Answers as systemd's does, and writes down what it was told.
RESOLVECTL = """#!/bin/bash
cd "$(dirname "$0")"
shift
echo "$*" >>calls
case "$#:$1" in
    1:*) ;;
    2:revert) rm -f told.* ;;
    2:*) echo "Link 7 ($2): $(cat "told.$1" 2>/dev/null)" ;;
    *) echo "$3" >"told.$1" ;;
esac
"""


@contextmanager
def dnsmasq(instance: Instance, *options: str) -> Iterator[int]:
    """One that runs in the instance's network and knows a few names; its pid."""
    argv = ["nsenter", f"--net={instance.namespace}", "dnsmasq", "--keep-in-foreground"]
    argv += ["--conf-file=/dev/null", "--pid-file", "--no-resolv", "--no-hosts", "--user=root"]
    argv += [f"--host-record={FOREIGN},{FOREIGN_ADDRESS}", *options]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        port = next(o.partition("=")[2] for o in options if o.startswith("--port="))
        wait_until(lambda: f":{port} " in instance.tool("ss", "-Hlun"), 5, "dnsmasq")
        try:
            yield process.pid
        finally:
            process.kill()


def dig(instance: Instance, *arguments: str) -> str:
    """Asks the bridge; the whole answer, or with +short the records."""
    server = f"@{gateway(instance)}"
    return instance.tool("dig", server, "+tries=1", "+time=5", *arguments).strip()


def gateway(instance: Instance) -> str:
    (link,) = json.loads(instance.tool("ip", "-j", "-4", "address", "show", "banger0"))
    return str(link["addr_info"][0]["local"])


def address_of(instance: Instance, name: str) -> str:
    return str(instance.show(name)["address"])


def findings(instance: Instance, check: str) -> list[dict[str, Any]]:
    found = json.loads(instance.run("doctor", "--json", code=None).stdout)
    rows = found["findings"] if isinstance(found, dict) else found
    return [row for row in rows if row["check"] == check]


def test_names_of_guests(new_instance: NewInstance) -> None:
    instance = new_instance(BANGER_CAPABILITIES_DNS_UPSTREAM=f"127.0.0.1:{UPSTREAM_PORT}")
    upstream = [f"--port={UPSTREAM_PORT}", "--listen-address=127.0.0.1", "--bind-interfaces"]
    instance.run("daemon", "start")
    inside = f"--host-record={IN_THE_SUBNET},{gateway(instance)}"
    with dnsmasq(instance, *upstream, inside):
        instance.create("web", "--dns-alias", "www", "--dns-alias", "api.svc")
        instance.create("other")
        check_from_the_host(instance)
        check_from_a_guest(instance)
        check_taken_names(instance)
        check_changes(instance)
        check_address_that_goes_and_comes(instance)
        check_killed_daemon(instance)
        instance.run("vm", "stop", "--force", "other")
        assert "status: NXDOMAIN" in dig(instance, "other.vm")
        assert "status: NXDOMAIN" in dig(instance, "-x", address_of(instance, "other"))
        assert findings(instance, "dns-names")[0]["level"] == "ok"


def check_from_the_host(instance: Instance) -> None:
    web, other = address_of(instance, "web"), address_of(instance, "other")
    for name in ("web.vm", "www.vm", "api.svc.vm", "WEB.vm."):
        assert dig(instance, "+short", name) == web
    assert dig(instance, "+short", "+tcp", "other.vm") == other
    assert dig(instance, "+short", "-x", web) == "web.vm."
    assert dig(instance, "+short", "-x", gateway(instance)) == "vm."
    assert dig(instance, "+short", "NS", "vm") == "vm."
    nodata = dig(instance, "AAAA", "web.vm")
    assert "status: NOERROR" in nodata and "ANSWER: 0" in nodata
    assert "status: NXDOMAIN" in dig(instance, "nobody.vm")
    assert dig(instance, "+short", FOREIGN) == FOREIGN_ADDRESS
    loopback = ("dig", "@127.0.0.1", "-p", LOOPBACK_PORT, "+short", "web.vm")
    assert instance.tool(*loopback).strip() == web
    listed = instance.json("dns", "list")
    assert listed[0] == {"name": "other.vm", "address": other, "vm": "other", "alias": False}
    assert [row["name"] for row in listed[1:]] == ["web.vm", "api.svc.vm", "www.vm"]


def check_from_a_guest(instance: Instance) -> None:
    web, other = address_of(instance, "web"), address_of(instance, "other")
    names = ["other.vm", "other", "www.vm", "api.svc", "web.vm", FOREIGN]
    # Names that are not there last; what getent says of them is its exit code.
    script = f"for n in {' '.join(names)}; do getent ahostsv4 $n | head -n 1 | cut -d' ' -f1; done"
    found = instance.sh("web", f"{script}; getent hosts {other} | tr -s ' ' | cut -d' ' -f2")
    assert found.split() == [other, other, web, web, web, FOREIGN_ADDRESS, "other.vm"]
    for name in ("nobody.vm", IN_THE_SUBNET):
        instance.sh("web", f"getent hosts {name}", code=2)


def check_taken_names(instance: Instance) -> None:
    before = instance.names(), instance.links()
    for name, alias in (("www", "x"), ("new", "www"), ("new", "OTHER"), ("new", "api.svc.")):
        told = instance.error("vm", "create", "--name", name, "--dns-alias", alias, code=4)
        assert "VM 'other'" in told or "VM 'web'" in told
    for alias in ("a..b", "-a", "web.vm"):
        instance.error("vm", "create", "--name", "new", "--dns-alias", alias, code=2)
    told = instance.error("vm", "set", "other", "--dns-alias", "www", code=4)
    assert "alias of VM 'web'" in told
    assert (instance.names(), instance.links()) == before
    # Two at once that want one name.
    create = ("vm", "create", "--no-start", "--dns-alias", "shared", "--name")
    clients = [instance.start(*create, name) for name in ("ns", "twin")]
    errors = [client.communicate(timeout=30)[1].decode() for client in clients]
    assert sorted(client.returncode for client in clients) == [0, 4]
    assert "the name 'shared' is taken" in "".join(errors)
    (winner,) = instance.names() - before[0]
    instance.run("vm", "delete", winner)
    # Undone, a create leaves no name.
    fault = ("--dns-alias", "shared", "--inject-fault", "vmm")
    instance.error("vm", "create", "--name", "doomed", *fault, code=1)
    for name in ("doomed.vm", "shared.vm"):
        assert "status: NXDOMAIN" in dig(instance, name)


def check_changes(instance: Instance) -> None:
    other = address_of(instance, "other")
    instance.run("vm", "set", "other", "--dns-alias", "shared")
    assert dig(instance, "+short", "shared.vm") == other
    instance.run("vm", "set", "other", "--no-dns")
    assert "status: NXDOMAIN" in dig(instance, "other.vm")
    instance.run("vm", "set", "other", "--dns", "--dns-alias", "none")
    assert dig(instance, "+short", "other.vm") == other
    assert "status: NXDOMAIN" in dig(instance, "shared.vm")


def check_address_that_goes_and_comes(instance: Instance) -> None:
    address = f"{gateway(instance)}/22"
    instance.tool("ip", "address", "delete", address, "dev", "banger0")
    instance.tool("ip", "address", "add", address, "dev", "banger0")
    for transport in ("+notcp", "+tcp"):
        assert dig(instance, "+short", transport, "web.vm") == address_of(instance, "web")


def check_killed_daemon(instance: Instance) -> None:
    instance.signal_daemon(signal.SIGKILL)
    begun = time.monotonic()
    assert instance.names() == {"web", "other"}
    assert dig(instance, "+short", "www.vm") == address_of(instance, "web")
    print(f"names are back {time.monotonic() - begun:.1f} s after the daemon's start")
    told = instance.error("vm", "create", "--name", "new", "--dns-alias", "www", code=4)
    assert "alias of VM 'web'" in told


def test_port_that_is_taken(new_instance: NewInstance, tmp_path: Path) -> None:
    instance = new_instance()
    (tmp_path / "resolvectl").write_text(RESOLVECTL)
    (tmp_path / "resolvectl").chmod(0o755)
    instance.environ["PATH"] = f"{tmp_path}:{instance.environ['PATH']}"
    with dnsmasq(instance, "--port=53") as pid:
        assert instance.create("web")["state"] == "running"
        first = findings(instance, "dns-server")[0]
        assert first["level"] == "warning"
        assert f"port 53 of {gateway(instance)} is taken by dnsmasq (pid {pid})" in first["summary"]
        events = instance.paths.event_log.read_text()
        assert '"kind":"cannot-listen"' in events and f"(pid {pid})" in events
        loopback = ("dig", "@127.0.0.1", "-p", LOOPBACK_PORT, "+short", "web.vm")
        assert instance.tool(*loopback).strip() == address_of(instance, "web")
    wait_until(lambda: findings(instance, "dns-server")[0]["level"] == "ok", 10, "port 53")
    assert dig(instance, "+short", "web.vm") == address_of(instance, "web")
    check_installation(instance, tmp_path)


def check_installation(instance: Instance, resolved: Path) -> None:
    address = gateway(instance)
    made = instance.json("dns", "install", "--for", "systemd-resolved")
    assert made == {"manager": "systemd-resolved", "done": True, "recipe": []}
    told = {path.name: path.read_text().strip() for path in resolved.glob("told.*")}
    wanted = {"told.dns": address, "told.domain": "~vm", "told.default-route": "no"}
    assert wanted.items() <= told.items()
    assert "systemd-resolved" in findings(instance, "dns-host")[0]["summary"]
    # It forgets with the bridge, and is told again. Here another one takes its place.
    instance.tool("ip", "link", "set", "banger0", "name", "aside")
    for path in resolved.glob("told.*"):
        path.unlink()
    instance.tool("ip", "link", "add", "banger0", "type", "bridge")
    wait_until(lambda: (resolved / "told.dnsovertls").exists(), 5, "systemd-resolved told anew")
    instance.tool("ip", "link", "delete", "banger0")
    instance.tool("ip", "link", "set", "aside", "name", "banger0")
    instance.tool("ip", "link", "set", "banger0", "up")
    instance.run("dns", "install", "--undo", "--for", "systemd-resolved")
    assert "revert banger0" in (resolved / "calls").read_text()
    assert not list(resolved.glob("told.*"))
    by_hand = instance.run("dns", "install", "--for", "dnsmasq", code=1).stdout
    assert f"server=/vm/{address}" in by_hand
