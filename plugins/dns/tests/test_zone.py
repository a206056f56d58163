"""The VMs' names and addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import dns.flags
import pytest
from dns.rcode import NOERROR, NXDOMAIN
from dns_fakes import Bench, Message, make_bench, make_zone

from banger_dns import Zone


def data(message: Message) -> list[str]:
    return sorted(str(rdata) for rrset in message.answer for rdata in rrset)


def soa_owner(message: Message) -> str:
    (rrset,) = message.authority
    assert rrset.ttl == rrset[0].minimum == 5
    return str(rrset.name)


@pytest.mark.parametrize("name", ["web.vm", "www.vm", "WEB.vm", "wWw.VM."])
def test_host_and_alias_have_the_addresses(bench: Bench, name: str) -> None:
    reply = bench.ask(name)
    assert data(reply) == ["172.31.0.10"]
    assert reply.answer[0].ttl == 10
    assert reply.flags & dns.flags.AA and reply.flags & dns.flags.RA
    assert data(bench.ask(name, "AAAA")) == ["fd00::10"]


def test_case_of_the_question_is_kept(bench: Bench) -> None:
    for name in ("WeB.vM.", "wEb.Vm."):
        reply = bench.ask(name)
        assert reply.question[0].name.to_text() == name
        assert reply.answer[0].name.to_text() == name


def test_missing_type_is_nodata(bench: Bench) -> None:
    for name, rtype in (("db.vm", "AAAA"), ("web.vm", "MX"), ("vm", "AAAA"), ("vm", "MX")):
        reply = bench.ask(name, rtype)
        assert (reply.rcode(), reply.answer) == (NOERROR, [])
        assert soa_owner(reply) == "vm."


@pytest.mark.parametrize("name", ["nope.vm", "a.web.vm", "xn--1.vm", "\\000.vm", "vm.vm"])
def test_unknown_name_is_nxdomain(bench: Bench, name: str) -> None:
    reply = bench.ask(name)
    assert reply.rcode() == NXDOMAIN
    assert soa_owner(reply) == "vm."


def test_label_that_looks_like_the_zone_is_not_in_it(zone: Zone) -> None:
    assert zone.find((b"a\x02vm",), 1) is None
    assert zone.find((b"notvm",), 1) is None


def test_apex_names_its_server(bench: Bench) -> None:
    assert data(bench.ask("vm", "NS")) == ["vm."]
    assert data(bench.ask("vm")) == ["172.31.0.1"]
    assert data(bench.ask("vm", "SOA"))[0].startswith("vm. hostmaster.vm. ")


def test_host_may_be_called_ns(zone: Zone, bench: Bench) -> None:
    zone.set_host("ns", [IPv4Address("172.31.0.20")])
    assert data(bench.ask("ns.vm")) == ["172.31.0.20"]
    assert data(bench.ask("vm", "NS")) == ["vm."]


def test_serial_grows_with_changes(zone: Zone, bench: Bench) -> None:
    def serial() -> int:
        return int(bench.ask("vm", "SOA").answer[0][0].serial)

    before = serial()
    zone.set_host("new", [IPv4Address("172.31.0.99")])
    assert serial() == before + 1
    zone.remove_host("nobody")
    assert serial() == before + 1


def test_pointers(bench: Bench) -> None:
    def pointer(address: str) -> Message:
        return bench.ask(IPv4Address(address).reverse_pointer, "PTR")

    assert data(pointer("172.31.0.10")) == ["web.vm."]
    assert data(pointer("172.31.0.1")) == ["vm."]
    unknown = pointer("172.31.3.255")
    assert unknown.rcode() == NXDOMAIN
    assert soa_owner(unknown) == "3.31.172.in-addr.arpa."
    nodata = bench.ask("10.0.31.172.in-addr.arpa", "A")
    assert (nodata.rcode(), nodata.answer) == (NOERROR, [])


@pytest.mark.parametrize(
    "name",
    ["1.10.0.31.172", "010.0.31.172", "256.0.31.172", "x.0.31.172", "-1.0.31.172"],
)
def test_odd_reverse_names_do_not_exist(bench: Bench, name: str) -> None:
    assert bench.ask(f"{name}.in-addr.arpa", "PTR").rcode() == NXDOMAIN


def test_reverse_apex(bench: Bench) -> None:
    assert data(bench.ask("2.31.172.in-addr.arpa", "NS")) == ["vm."]


@pytest.mark.parametrize(
    ("subnet", "inside", "outside"),
    [
        ("172.31.0.0/22", "5.3.31.172", ["5.4.31.172", "31.172", "00.31.172", "172", "x.172"]),
        ("10.0.0.0/8", "1.2.3.10", ["1.2.3.11", "010", "0"]),
        ("10.16.0.0/12", "1.2.31.10", ["1.2.32.10", "10"]),
        ("10.1.2.64/26", "127.2.1.10", ["128.2.1.10", "63.2.1.10", "2.1.10"]),
        ("10.1.2.0/24", "255.2.1.10", ["255.3.1.10", "1.10"]),
        ("10.1.2.4/30", "7.2.1.10", ["8.2.1.10"]),
    ],
)
def test_reverse_zone_of_any_prefix(subnet: str, inside: str, outside: list[str]) -> None:
    zone = make_zone_of(subnet)

    def find(name: str) -> bool:
        labels = (*name.encode().split(b"."), b"in-addr", b"arpa")
        return zone.find(labels, 12) is not None

    assert find(inside)
    assert [name for name in outside if find(name)] == []


def make_zone_of(subnet: str) -> Zone:
    network = IPv4Network(subnet)
    return Zone("vm", subnet=network, address=network[1])


def test_names_between_reverse_apex_and_address_exist() -> None:
    bench = make_bench(make_zone(subnet=IPv4Network("172.16.0.0/12")))
    reply = bench.ask("0.31.172.in-addr.arpa", "PTR")
    assert (reply.rcode(), reply.answer) == (NOERROR, [])


def test_changes_show_at_once(zone: Zone, bench: Bench) -> None:
    assert bench.ask("new.vm").rcode() == NXDOMAIN
    zone.set_host("new", [IPv4Address("172.31.1.1")], ["fresh"])
    assert data(bench.ask("new.vm")) == data(bench.ask("fresh.vm")) == ["172.31.1.1"]
    zone.set_host("new", [IPv4Address("172.31.1.2")], ["other"])
    assert data(bench.ask("new.vm")) == data(bench.ask("other.vm")) == ["172.31.1.2"]
    assert bench.ask("fresh.vm").rcode() == NXDOMAIN
    assert bench.ask("1.1.31.172.in-addr.arpa", "PTR").rcode() == NXDOMAIN
    zone.remove_host("new")
    for name in ("new.vm", "other.vm", "2.1.31.172.in-addr.arpa"):
        assert bench.ask(name, "PTR").rcode() == NXDOMAIN
    zone.remove_host("new")


def test_alias_below_a_name_makes_that_name_exist(zone: Zone, bench: Bench) -> None:
    zone.set_host("app", [IPv4Address("172.31.1.1")], ["a.b.c", "x.c"])
    assert data(bench.ask("a.b.c.vm")) == ["172.31.1.1"]
    for name in ("b.c.vm", "c.vm"):
        assert bench.ask(name).rcode() == NOERROR
    zone.set_host("app", [IPv4Address("172.31.1.1")], ["x.c"])
    assert bench.ask("b.c.vm").rcode() == NXDOMAIN
    assert bench.ask("c.vm").rcode() == NOERROR
    zone.remove_host("app")
    assert bench.ask("c.vm").rcode() == NXDOMAIN


def test_address_that_moves_between_hosts(zone: Zone, bench: Bench) -> None:
    address = IPv4Address("172.31.1.1")
    zone.set_host("old", [address])
    zone.set_host("new", [address])
    zone.remove_host("old")
    assert data(bench.ask(address.reverse_pointer, "PTR")) == ["new.vm."]


@pytest.mark.parametrize(
    ("name", "aliases", "reason"),
    [
        ("www", [], "'www' is taken by 'web'"),
        ("new", ["DB"], "'DB' is taken by 'db'"),
        ("new", ["a", "A"], "'a' is given twice"),
        ("new", ["new"], "'new' is given twice"),
        ("new", ["a..b"], "is not a host name"),
        ("", [], "is not a host name"),
        ("ü", [], "is not a host name"),
        ("new", ["a" * 64], "is not a host name"),
        ("new", [".".join(["a" * 50] * 5)], "longer than 255"),
    ],
)
def test_bad_and_taken_names_change_nothing(
    zone: Zone, name: str, aliases: list[str], reason: str
) -> None:
    before, version = list(zone.hosts()), zone.version
    with pytest.raises(ValueError, match=reason):
        zone.set_host(name, [IPv4Address("172.31.1.1")], aliases)
    assert (list(zone.hosts()), zone.version) == (before, version)


def test_zone_of_several_labels() -> None:
    bench = make_bench(make_zone("Dev.Example.test"))
    assert data(bench.ask("web.dev.example.TEST")) == ["172.31.0.10"]
    assert data(bench.ask("dev.example.test", "NS")) == ["dev.example.test."]
    assert soa_owner(bench.ask("nope.dev.example.test")) == "dev.example.test."


@pytest.mark.parametrize("name", ["", ".", "arpa", "in-addr.arpa", "a b", "-a"])
def test_bad_zone_names(name: str) -> None:
    with pytest.raises(ValueError):
        make_zone(name)


def test_host_with_many_addresses(zone: Zone, bench: Bench) -> None:
    addresses = [IPv6Address(f"fd00::{n:x}") for n in range(1, 101)]
    zone.set_host("many", addresses)
    cut = bench.ask("many.vm", "AAAA", use_edns=0, payload=4096)
    assert cut.flags & dns.flags.TC and not cut.answer
    assert len(data(bench.ask("many.vm", "AAAA", tcp=True))) == 100
