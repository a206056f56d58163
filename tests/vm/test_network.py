"""VMs reach each other and the host reaches them."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

from tests.vm.instance import Instance

CLOSED_PORT = 9


@pytest.fixture
def third(instance: Instance) -> Iterator[str]:
    instance.create("third")
    yield "third"
    instance.run("vm", "delete", "third")


def test_three_vms_reach_each_other(instance: Instance, box: str, other: str, third: str) -> None:
    names = (box, other, third)
    address = {name: instance.show(name)["address"] for name in names}
    assert len(set(address.values())) == 3
    for source, target in itertools.permutations(names, 2):
        instance.sh(source, f"ping -c 1 -W 10 {address[target]}")
    for name in names:
        with pytest.raises(ConnectionRefusedError):  # which is an answer
            socket.create_connection((address[name], CLOSED_PORT), timeout=10)


def test_a_stream_between_two(instance: Instance, box: str, other: str) -> None:
    listen = (
        "use IO::Socket::INET; $|=1;"
        "$s=IO::Socket::INET->new(Listen=>1,LocalPort=>4700,ReuseAddr=>1) or die;"
        "print qq(up\\n); $c=$s->accept; $n=0; while(read($c,$b,65536)){$n+=length $b} print $n"
    )
    server = instance.start("vm", "exec", other, "--", "perl", "-e", listen)
    assert server.stdout is not None
    assert server.stdout.readline() == b"up\n"
    target = f"/dev/tcp/{instance.show(other)['address']}/4700"
    script = f"head -c 20000000 /dev/zero >{target}"
    instance.run("vm", "exec", box, "--", "bash", "-c", script)
    assert server.communicate(timeout=60)[0] == b"20000000"
