"""The world for real guests: NAT, what they may reach, published ports.

The world is a network namespace with a web server, joined to the instance's by two cables.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance, wait_until

pytest.importorskip("banger_nat")

SERVER = "198.51.100.1"
"""An address of the world that no cable has."""
HOST, HOST_ON_SECOND = "192.0.2.2", "203.0.113.2"
BRIDGE_NETFILTER = "/proc/sys/net/bridge/bridge-nf-call-iptables"
FORWARDING = "/proc/sys/net/ipv4/ip_forward"

# Answers over TCP and UDP with the address of who asks, and its own word.
RESPONDER = """
import socket, sys, threading
word, *ports = sys.argv[1:]
def tcp(server):
    while True:
        client, (who, _) = server.accept()
        client.sendall(f"{word} {who}".encode()); client.close()
def udp(sock):
    while True:
        _, peer = sock.recvfrom(99)
        sock.sendto(f"{word} {peer[0]}".encode(), peer)
for port in map(int, ports):
    server = socket.create_server(("", port))
    sock = socket.socket(type=socket.SOCK_DGRAM); sock.bind(("", port))
    threading.Thread(target=tcp, args=(server,)).start()
    threading.Thread(target=udp, args=(sock,)).start()
print("up", flush=True)
"""
ASK = """
import socket, sys
kind, to, port, source = sys.argv[1:]
sock = socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
sock.bind(("", int(source))); sock.settimeout(2); sock.connect((to, int(port)))
if kind == "udp": sock.send(b"?")
print(sock.recv(99).decode())
"""


class World:
    """A namespace that stands for everything beyond the host."""

    def __init__(self, instance: Instance) -> None:
        script = "ip link set lo up && echo ready && exec sleep infinity"
        argv = ["unshare", "--net", "sh", "-c", script]
        self._holder = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self._net = f"/proc/{self._holder.pid}/ns/net"
        self.instance = instance
        self._cable("up0", HOST, "192.0.2.1")
        self._cable("up1", HOST_ON_SECOND, "203.0.113.1")
        self.run("ip", "address", "add", f"{SERVER}/32", "dev", "lo")
        self.responder = self._respond()

    def _cable(self, name: str, here: str, there: str) -> None:
        instance, far = self.instance, name + "-far"
        instance.tool("ip", "link", "add", name, "type", "veth", "peer", "name", far)
        instance.tool("ip", "link", "set", far, "netns", str(self._holder.pid))
        instance.tool("ip", "address", "add", f"{here}/24", "dev", name)
        instance.tool("ip", "link", "set", name, "up")
        self.run("ip", "address", "add", f"{there}/24", "dev", far)
        self.run("ip", "link", "set", far, "up")

    def _respond(self) -> subprocess.Popen[bytes]:
        argv = [*self._inside, sys.executable, "-c", RESPONDER, "world", "80", "443"]
        responder = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert responder.stdout is not None
        assert responder.stdout.readline() == b"up\n"
        return responder

    @property
    def _inside(self) -> list[str]:
        return ["nsenter", f"--net={self._net}"]

    def run(self, *argv: str) -> str:
        done = subprocess.run(
            [*self._inside, *argv], capture_output=True, text=True, timeout=30, check=True
        )
        return done.stdout.strip()

    def ask(self, kind: str, to: str, port: int, *, source: int = 0) -> str:
        """What is answered; "" when nothing is."""
        argv = [sys.executable, "-c", ASK, kind, to, str(port), str(source)]
        done = subprocess.run([*self._inside, *argv], capture_output=True, text=True, timeout=30)
        return done.stdout.strip()

    def close(self) -> None:
        for name in ("up0", "up1"):
            self.instance.tool("ip", "link", "delete", name)
        for process in (self.responder, self._holder):
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def world(new_instance: NewInstance) -> Iterator[World]:
    world = World(new_instance())
    yield world
    world.close()


def from_guest(instance: Instance, name: str, to: str, port: int) -> str:
    """What a TCP server says to the guest; "" when it can't be reached."""
    argv = ["timeout", "2", "bash", "-c", f"cat </dev/tcp/{to}/{port}"]
    return instance.run("vm", "exec", name, "--", *argv, code=None).stdout


def from_host(instance: Instance, kind: str, to: str, port: int) -> str:
    return instance.tool(sys.executable, "-c", ASK, kind, to, str(port), "0").strip()


def serve(instance: Instance, name: str) -> None:
    """Let the guest answer on TCP and UDP port 80 with its name and who asks."""
    answer = f'"{name} " . inet_ntoa((sockaddr_in($from))[1])'
    common = "use Socket; $any = sockaddr_in(80, INADDR_ANY);"
    tcp = (
        f"{common} socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);"
        "bind(S, $any) or die; listen(S, 9);"
        f"while ($from = accept(C, S)) {{ syswrite(C, {answer}); close C }}"
    )
    udp = (
        f"{common} socket(S, PF_INET, SOCK_DGRAM, 0); bind(S, $any) or die;"
        f"while ($from = recv(S, $_, 99, 0)) {{ send(S, {answer}, 0, $from) }}"
    )
    for program in (tcp, udp):
        instance.run(
            "vm", "exec", name, "--", "sh", "-c", f"setsid perl -e '{program}' >/dev/null 2>&1 &"
        )
    script = "until ss -Hltun sport = :80 | grep -c . | grep -q 2; do sleep 0.1; done"
    instance.sh(name, script)


@contextmanager
def responder_on_host(instance: Instance, port: int) -> Iterator[int]:
    """Its pid."""
    argv = [sys.executable, "-c", RESPONDER, "host", str(port)]
    enter = ["nsenter", f"--net={instance.namespace}"]
    responder = subprocess.Popen([*enter, *argv], stdout=subprocess.PIPE)
    assert responder.stdout is not None
    with responder.stdout as stdout:
        assert stdout.readline() == b"up\n"
        yield responder.pid
        responder.kill()
        responder.wait()


def ruleset(instance: Instance) -> list[Any]:
    """Without handles and counters of changes, which no one restores."""
    listed = json.loads(instance.tool("nft", "-j", "list", "ruleset"))["nftables"]
    for entry in listed:
        for value in entry.values():
            value.pop("handle", None)
    return [entry for entry in listed if "metainfo" not in entry]


def test_guests_and_the_world(world: World) -> None:
    instance = world.instance
    instance.tool("sh", "-c", f"echo 0 >{FORWARDING}")
    before = ruleset(instance), instance.tool("cat", FORWARDING)
    assert before == ([], "0\n")

    # Without a default route a VM starts all the same.
    begun = time.monotonic()
    instance.create("web", "-p", "8080:80", "-p", "8080:80/udp", "-p", "127.0.0.1:8081:80")
    instance.create("deaf", "--no-nat")
    print(f"two VMs: {time.monotonic() - begun:.1f} s")
    assert from_guest(instance, "web", SERVER, 80) == ""
    check_route_is_followed(world)
    check_egress(world)
    serve(instance, "web")
    check_published(world)
    check_taken_ports(world)
    check_flushed_rules(world)
    check_killed_daemon(world)
    check_commands(world)

    instance.run("vm", "stop", "--force", "web")
    assert world.ask("tcp", HOST, 8080) == ""
    assert instance.tool("cat", FORWARDING) == "0\n"
    instance.run("vm", "stop", "--force", "deaf")
    assert ruleset(instance) == []
    instance.run("vm", "delete", "web", "deaf")
    assert (ruleset(instance), instance.tool("cat", FORWARDING)) == before
    assert list(instance.paths.state.glob("capabilities/nat/*")) == []


def check_route_is_followed(world: World) -> None:
    instance = world.instance
    instance.tool("ip", "route", "add", "default", "via", "192.0.2.1", "dev", "up0")
    wait_until(lambda: "masquerade" in instance.tool("nft", "list", "ruleset"), 3, "NAT")
    assert from_guest(instance, "web", SERVER, 80) == f"world {HOST}"
    assert from_guest(instance, "deaf", SERVER, 80) == ""
    instance.tool("ip", "route", "replace", "default", "via", "203.0.113.1", "dev", "up1")
    wait_until(lambda: 'oifname "up1"' in instance.tool("nft", "list", "ruleset"), 3, "the move")
    assert from_guest(instance, "web", SERVER, 80) == f"world {HOST_ON_SECOND}"
    # A link that goes down takes its routes along without telling of each.
    instance.tool("ip", "link", "set", "up1", "down")
    wait_until(lambda: "up1" not in instance.tool("nft", "list", "ruleset"), 3, "the loss")
    instance.tool("ip", "link", "set", "up1", "up")
    instance.tool("ip", "route", "add", "default", "via", "192.0.2.1", "dev", "up0")
    wait_until(lambda: 'oifname "up0"' in instance.tool("nft", "list", "ruleset"), 3, "the return")


def check_egress(world: World) -> None:
    instance = world.instance
    instance.run("vm", "set", "deaf", "--nat", "--egress", f"{SERVER}:443")
    assert from_guest(instance, "deaf", SERVER, 443) == f"world {HOST}"
    assert from_guest(instance, "deaf", SERVER, 80) == ""
    # The host's own addresses are not the world.
    instance.run("vm", "set", "deaf", "--egress", "0.0.0.0/0")
    assert from_guest(instance, "deaf", SERVER, 80) == f"world {HOST}"
    with responder_on_host(instance, 7000):
        assert from_host(instance, "tcp", HOST, 7000).startswith("host ")
        assert from_guest(instance, "deaf", HOST, 7000) == ""
    instance.run("vm", "set", "deaf", "--no-nat")
    assert from_guest(instance, "deaf", SERVER, 80) == ""


def check_published(world: World) -> None:
    instance = world.instance
    for kind in ("tcp", "udp"):
        # The guest sees who asks from afar, and the bridge's address for the host.
        assert world.ask(kind, HOST, 8080) == "web 192.0.2.1"
        assert from_host(instance, kind, "127.0.0.1", 8080).startswith("web 10.")
        assert from_host(instance, kind, HOST, 8080) == f"web {HOST}"
    assert from_host(instance, "tcp", "127.0.0.1", 8081).startswith("web 10.")
    assert world.ask("tcp", HOST, 8081) == ""
    # Another VM takes the same way, and the VM itself where bridged frames pass iptables by.
    gateway = instance.sh("web", "ip route show default").split()[2]
    assert from_guest(instance, "deaf", HOST, 8080) == f"web {gateway}"
    instance.tool("sh", "-c", f"test ! -e {BRIDGE_NETFILTER} || echo 0 >{BRIDGE_NETFILTER}")
    assert from_guest(instance, "web", HOST, 8080) == f"web {gateway}"
    # Only the port that was published.
    guest = instance.show("web")["address"]
    world.run("ip", "route", "add", f"{guest}/32", "via", HOST)
    assert world.ask("tcp", guest, 80) == ""
    world.run("ip", "route", "delete", f"{guest}/32")


def check_taken_ports(world: World) -> None:
    instance = world.instance
    told = instance.error("vm", "create", "--name", "late", "-p", "8080:80", code=4)
    assert "8080/tcp is published by VM 'web'" in told
    with responder_on_host(instance, 7000) as pid:
        told = instance.error("vm", "create", "--name", "late", "-p", "7000:80", code=4)
        assert f"pid {pid}" in told
        told = instance.error("vm", "set", "deaf", "-p", "7000:80", code=4)
        assert f"pid {pid}" in told
    told = instance.error("vm", "create", "--name", "late", "-p", "192.0.2.99:7000:80", code=2)
    assert "no address of this host" in told
    assert instance.names() == {"web", "deaf"}
    # The host's own programs can't take it either.
    instance.tool(sys.executable, "-c", RESPONDER, "host", "8080", code=1)


def check_flushed_rules(world: World) -> None:
    instance = world.instance
    wanted = ruleset(instance)
    instance.tool("nft", "flush", "ruleset")
    wait_until(lambda: ruleset(instance) == wanted, 5, "the rules")
    assert world.ask("tcp", HOST, 8080) == "web 192.0.2.1"


def check_killed_daemon(world: World) -> None:
    instance = world.instance
    wanted = ruleset(instance)
    instance.signal_daemon(signal.SIGKILL)
    assert world.ask("tcp", HOST, 8080) == "web 192.0.2.1"
    assert from_guest(instance, "web", SERVER, 80) == f"world {HOST}"
    assert ruleset(instance) == wanted
    assert instance.tool("cat", FORWARDING) == "1\n"
    assert world.ask("tcp", HOST, 8080) == "web 192.0.2.1"
    told = instance.error("vm", "create", "--name", "late", "-p", "8080:80", code=4)
    assert "published by VM 'web'" in told


def check_commands(world: World) -> None:
    instance = world.instance
    instance.run("vm", "port", "add", "deaf", "9090:80", f"{HOST}:9091:80/udp")
    assert instance.json("vm", "port", "list", "deaf") == [
        {
            "vm": "deaf",
            "address": address,
            "host_port": port,
            "guest_port": 80,
            "protocol": protocol,
        }
        for address, port, protocol in (("0.0.0.0", 9090, "tcp"), (HOST, 9091, "udp"))
    ]
    serve(instance, "deaf")
    # A published port needs no NAT.
    assert world.ask("tcp", HOST, 9090) == "deaf 192.0.2.1"
    assert world.ask("udp", HOST, 9091) == "deaf 192.0.2.1"
    assert world.ask("udp", HOST, 9091, source=7777) == "deaf 192.0.2.1"
    instance.run("vm", "port", "remove", "deaf", "9090", "9091/udp")
    # To the kernel a connection that is still there; it was cut off.
    assert world.ask("udp", HOST, 9091, source=7777) == ""
    assert instance.json("vm", "port", "list", "deaf") == []
