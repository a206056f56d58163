"""The server on real sockets, with real clients."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from typing import Any

import dns.flags
import dns.message
import pytest
import trio
from dns.rcode import NOERROR
from dns_fakes import (
    QUICK,
    Message,
    Reply,
    answering,
    ask_udp,
    make_query,
    make_zone,
    read_tcp,
    reply_to,
    serving,
    upstreams,
)

from banger_dns import Limits, bind, make_server


def framed(message: Message) -> bytes:
    return message.to_wire(prepend_length=True)


async def connect(server: tuple[str, int]) -> trio.SocketStream:
    return await trio.open_tcp_stream(*server)


async def dig(server: tuple[str, int], *arguments: str) -> str:
    argv = ["dig", f"@{server[0]}", "-p", str(server[1]), "+tries=1", "+time=5", *arguments]
    with trio.fail_after(10):
        done = await trio.run_process(argv, capture_stdout=True, stderr=subprocess.STDOUT)
    return done.stdout.decode()


async def test_udp() -> None:
    async with serving(make_zone()) as server:
        reply = await ask_udp(server, make_query("web.vm"))
        assert [str(rdata) for rdata in reply.answer[0]] == ["172.31.0.10"]


async def test_forwarded_over_udp_and_tcp() -> None:
    async with (
        upstreams(answering("@ 60 A 192.0.2.7")) as (fake,),
        serving(make_zone(), [fake.resolver]) as server,
    ):
        assert (await ask_udp(server, make_query("example.org"))).answer
        async with await connect(server) as stream:
            await stream.send_all(framed(make_query("www.example.org")))
            assert dns.message.from_wire(await read_tcp(stream)).answer


async def test_server_with_all_defaults() -> None:
    async with upstreams(answering("@ 60 A 192.0.2.7")) as (fake,), trio.open_nursery() as nursery:
        server = make_server(make_zone(), resolvers=lambda: [fake.resolver])
        with bind([("127.0.0.1", 0), ("::1", 0)]) as sockets:
            await nursery.start(server.serve, sockets)
            address = sockets.addresses[0]
            assert (await ask_udp(address, make_query("web.vm"))).answer
            assert (await ask_udp(address, make_query("example.org"))).answer
            assert "172.31.0.10" in await dig(sockets.addresses[1], "web.vm", "+short")
            nursery.cancel_scope.cancel()


async def test_zone_is_never_forwarded() -> None:
    async with (
        upstreams(answering("@ 60 A 192.0.2.7")) as (fake,),
        serving(make_zone(), [fake.resolver]) as server,
    ):
        for name in ("ns.vm", "nope.vm", "a.b.VM", "9.0.31.172.in-addr.arpa", "a.invalid"):
            assert not (await ask_udp(server, make_query(name))).answer
    assert not fake.queries


async def test_pipelined_queries_on_one_connection() -> None:
    async with serving(make_zone()) as server, await connect(server) as stream:
        queries = [make_query(name) for name in ("web.vm", "db.vm", "nope.vm")] * 30
        wire = b"\0\0" + b"".join(framed(query) for query in queries)
        # In pieces that fit no message.
        for start in range(0, len(wire), 7):
            await stream.send_all(wire[start : start + 7])
        for query in queries:
            assert query.is_response(dns.message.from_wire(await read_tcp(stream)))


async def test_slow_answer_does_not_hold_up_the_next() -> None:
    def slow(query: Message, tcp: bool) -> Iterable[Reply]:
        return []

    async with (
        upstreams(slow) as (fake,),
        serving(make_zone(), [fake.resolver], patience=QUICK) as server,
        await connect(server) as stream,
    ):
        foreign, local = make_query("example.org"), make_query("web.vm")
        await stream.send_all(framed(foreign) + framed(local))
        assert local.is_response(dns.message.from_wire(await read_tcp(stream)))
        assert foreign.is_response(dns.message.from_wire(await read_tcp(stream)))


async def test_answers_come_although_the_client_has_said_all() -> None:
    async with (
        upstreams(answering("@ 60 A 192.0.2.7")) as (fake,),
        serving(make_zone(), [fake.resolver], patience=QUICK) as server,
        await connect(server) as stream,
    ):
        await stream.send_all(framed(make_query("example.org")))
        await stream.send_eof()
        assert dns.message.from_wire(await read_tcp(stream)).answer
        assert await read_tcp(stream) == b""


async def test_large_answer_is_truncated_then_fetched_over_tcp() -> None:
    records = [f"@ 60 A 192.0.2.{number}" for number in range(200)]

    def large(query: Message, tcp: bool) -> Iterable[Reply]:
        reply = reply_to(query, *(records if tcp else ()))
        if not tcp:
            reply.flags |= dns.flags.TC
        return [reply]

    async with upstreams(large) as (fake,), serving(make_zone(), [fake.resolver]) as server:
        for payload in (None, 512, 4096):
            edns: dict[str, Any] = {"use_edns": 0, "payload": payload} if payload else {}
            cut = await ask_udp(server, make_query("example.org", **edns))
            assert cut.flags & dns.flags.TC and not cut.answer
        text = await dig(server, "example.org", "+short")
        assert len(text.split()) == 200


async def test_idle_connection_is_closed() -> None:
    async with serving(make_zone(), limits=Limits(tcp_idle_s=0.3)) as server:
        async with await connect(server) as stream:
            await stream.send_all(framed(make_query("web.vm")) + b"\0\x20half")
            assert await read_tcp(stream)
            assert await read_tcp(stream) == b""
        assert (await ask_udp(server, make_query("web.vm"))).answer


async def test_client_that_does_not_read_is_left() -> None:
    async with serving(make_zone(), limits=Limits(tcp_idle_s=0.3)) as server:
        async with await connect(server) as stream:
            wire = framed(make_query("web.vm")) * 1000
            with trio.fail_after(10), pytest.raises(trio.BrokenResourceError):
                while True:
                    await stream.send_all(wire)
        assert (await ask_udp(server, make_query("web.vm"))).answer


async def test_connections_are_few() -> None:
    limits = Limits(tcp_connections=3, tcp_connections_per_client=2)
    query = framed(make_query("web.vm"))
    async with serving(make_zone(), limits=limits) as server:
        async with await connect(server) as first, await connect(server) as second:
            for stream in (first, second):
                await stream.send_all(query)
                assert await read_tcp(stream)
            async with await connect(server) as third:
                assert await read_tcp(third) == b""
            async with await trio.open_tcp_stream(*server, local_address="127.0.0.2") as other:
                await other.send_all(query)
                assert await read_tcp(other)
        await trio.testing.wait_all_tasks_blocked()
        async with await connect(server) as again:
            await again.send_all(query)
            assert await read_tcp(again)


async def test_many_clients_at_once() -> None:
    async with (
        upstreams(answering("@ 60 A 192.0.2.7")) as (fake,),
        serving(make_zone(), [fake.resolver]) as server,
    ):

        async def ask(number: int) -> None:
            name = "web.vm" if number % 2 else f"x{number}.example.org"
            assert (await ask_udp(server, make_query(name))).rcode() == NOERROR

        async with trio.open_nursery() as nursery:
            for number in range(90):
                nursery.start_soon(ask, number)


async def test_changes_show_at_once() -> None:
    zone = make_zone()
    async with serving(zone) as server:
        assert not (await ask_udp(server, make_query("new.vm"))).answer
        zone.set_host("new", [zone.subnet[99]])
        assert (await ask_udp(server, make_query("new.vm"))).answer
        zone.remove_host("new")
        assert not (await ask_udp(server, make_query("new.vm"))).answer


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["web.vm"], "web.vm.\t\t\t10\tIN\tA\t172.31.0.10"),
        (["WEB.vm", "+tcp"], "172.31.0.10"),
        (["web.vm", "+noedns"], "status: NOERROR"),
        (["nope.vm"], "status: NXDOMAIN"),
        (["-x", "172.31.0.10", "+short"], "web.vm."),
        (["web.vm", "+dnssec", "+bufsize=4096"], "flags: do; udp: 1232"),
        (["web.vm", "+edns=3", "+noednsneg"], "status: BADVERS"),
        (["vm", "AXFR"], "Transfer failed"),
        (["web.vm", "ANY", "+notcp"], "RFC8482"),
        (["version.bind", "CH", "TXT"], "status: REFUSED"),
        (["+opcode=status", "web.vm"], "status: NOTIMP"),
        (["example.org"], "the host has no DNS resolver to ask"),
    ],
)
async def test_dig(arguments: list[str], found: str) -> None:
    async with serving(make_zone()) as server:
        assert found in await dig(server, *arguments)
