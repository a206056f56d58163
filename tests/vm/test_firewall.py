"""The base rules on real guests: what they may send as, and to whom."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from banger.client.connection import Connection
from banger.kernel import wire
from banger.kernel.message import Event
from banger.model.events import Recorded
from banger.model.firewall import FirewallRestored
from banger.model.requests.events import ReadEvents
from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance, wait_until

RESTORED_WITHIN_S = 5
SSH = 22


@pytest.fixture(scope="module")
def lonely(instance: Instance) -> Iterator[str]:
    """A VM that other VMs can't talk to."""
    instance.create("lonely", "--isolated")
    yield "lonely"
    instance.run("vm", "delete", "lonely")


def reaches(instance: Instance, source: str, target: str) -> bool:
    address = instance.show(target)["address"]
    done = instance.run("vm", "exec", source, "--", "ping", "-c1", "-W2", address, code=None)
    return done.returncode == 0


def ruleset(instance: Instance) -> Any:
    return json.loads(instance.tool("nft", "-j", "list", "ruleset"))["nftables"][1:]


def test_a_guest_that_changes_its_mac_is_cut_off(instance: Instance, box: str, other: str) -> None:
    mac = instance.show(box)["mac"]
    assert reaches(instance, box, other)
    route = instance.sh(box, "ip route show default").strip()
    set_mac = "ip link set {0} down; ip link set {0} address {1}; ip link set {0} up; {2}"
    card = instance.sh(box, "ls /sys/class/net | grep -v lo").strip()
    instance.sh(box, set_mac.format(card, "02:fc:00:00:00:99", "true"))
    assert not reaches(instance, box, other)
    instance.sh(box, set_mac.format(card, mac, f"ip route replace {route}"))
    wait_until(lambda: reaches(instance, box, other), 20, "the way back")


def test_a_guest_that_changes_its_address_is_cut_off(
    instance: Instance, box: str, other: str
) -> None:
    address = instance.show(box)["address"]
    card = instance.sh(box, "ls /sys/class/net | grep -v lo").strip()
    prefix = instance.sh(box, "ip -4 -o addr show scope global").split()[3].split("/")[1]
    foreign = address.rpartition(".")[0] + ".251"
    target = instance.show(other)["address"]
    ping = f"ping -c1 -W2 -I {foreign} {target}"
    done = instance.run(
        *("vm", "exec", box, "--", "sh", "-c"),
        f"ip addr add {foreign}/{prefix} dev {card}; {ping}; code=$?; "
        f"ip addr del {foreign}/{prefix} dev {card}; exit $code",
        code=None,
    )
    assert done.returncode == 1, done.stdout
    assert reaches(instance, box, other)


def test_an_isolated_vm_has_the_host_only(
    instance: Instance, box: str, other: str, lonely: str
) -> None:
    assert not reaches(instance, lonely, box)
    assert not reaches(instance, box, lonely)
    assert reaches(instance, box, other)
    instance.run("vm", "wait", lonely, "--for", "ssh")
    with socket.create_connection((instance.show(lonely)["address"], SSH), timeout=10):
        pass
    instance.run("vm", "set", lonely, "--no-isolated")
    assert reaches(instance, lonely, box)
    instance.run("vm", "set", lonely, "--isolated")
    assert not reaches(instance, lonely, box)


def test_a_guest_reaches_no_service_of_the_host(instance: Instance, box: str) -> None:
    gateway = instance.sh(box, "ip route show default").split()[2]
    with socket.create_server((gateway, 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((gateway, port), timeout=5):
            pass
        connect = f"timeout 2 bash -c '</dev/tcp/{gateway}/{port}'"
        assert instance.run("vm", "exec", box, "--", "sh", "-c", connect, code=None).returncode
    ping = instance.run("vm", "exec", box, "--", "ping", "-c1", "-W1", gateway, code=None)
    assert ping.returncode == 1


def test_flushed_rules_come_back(instance: Instance, box: str) -> None:
    before = ruleset(instance)
    assert before
    with instance.connect() as events:
        events.begin(ReadEvents(follow=True))
        instance.status()
        instance.tool("nft", "flush", "ruleset")
        wait_until(lambda: ruleset_like(ruleset(instance), before), RESTORED_WITHIN_S, "the rules")
        await_event(events, FirewallRestored)


def await_event(connection: Connection, wanted: type[Event]) -> None:
    """The test's own deadline ends the waiting."""
    while True:
        message = connection.receive()
        if isinstance(message, wire.Item) and isinstance(
            msgspec.msgpack.decode(message.item, type=Recorded).event, wanted
        ):
            return


def ruleset_like(one: Any, other: Any) -> bool:
    """The same but for the handles, which nftables counts."""
    return bool(without_handles(one) == without_handles(other))


def without_handles(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_handles(item) for key, item in value.items() if key != "handle"}
    if isinstance(value, list):
        return [without_handles(item) for item in value]
    return value


def test_rules_live_as_long_as_their_vm(new_instance: NewInstance) -> None:
    own = new_instance()
    own.tool("nft", "add", "table", "inet", "somebody")
    before = ruleset(own)
    own.create("a")
    made = ruleset(own)
    assert len(made) > len(before)
    own.signal_daemon(signal.SIGKILL)
    assert ruleset(own) == made
    own.run("vm", "list")
    wait_until(lambda: own.state("a") == "running", 20, "the adoption")
    own.create("b")
    assert reaches(own, "a", "b")
    own.run("vm", "stop", "a", "--force")
    own.run("vm", "delete", "a", "b")
    wait_until(lambda: ruleset(own) == before, 5, "the end of our rules")
    own.tool("nft", "delete", "table", "inet", "somebody")
