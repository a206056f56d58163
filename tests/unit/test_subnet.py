from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from banger.host.subnet import CANDIDATES, choose_subnet
from banger.kernel.errors import HostNotReady, UsageError


def networks(*texts: str) -> list[IPv4Network]:
    return [IPv4Network(text) for text in texts]


def test_first_candidate_when_nothing_is_taken() -> None:
    assert choose_subnet([]) == IPv4Network("10.213.0.0/22")


def test_steps_over_what_overlaps_from_inside_and_outside() -> None:
    assert choose_subnet(networks("10.213.1.7/32")) == IPv4Network("10.213.4.0/22")
    assert choose_subnet(networks("10.213.0.0/17")) == IPv4Network("10.213.128.0/22")


def test_next_candidate_when_one_is_covered() -> None:
    assert choose_subnet(networks("10.213.0.0/16")) == IPv4Network("10.177.0.0/22")
    assert choose_subnet(networks("10.0.0.0/8")) == IPv4Network("192.168.208.0/22")


def test_candidates_narrower_than_the_prefix_are_passed_over() -> None:
    chosen = choose_subnet([], 24, networks("192.0.2.0/25", "198.51.100.0/24"))
    assert chosen == IPv4Network("198.51.100.0/24")


def test_all_taken_is_an_error_that_lists_where_it_looked() -> None:
    with pytest.raises(HostNotReady, match=r"no free /22 subnet.*10\.213\.0\.0/16"):
        choose_subnet(networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))


@pytest.mark.parametrize("prefix", [0, 7, 31, 32])
def test_unusable_prefix(prefix: int) -> None:
    with pytest.raises(UsageError, match=str(prefix)):
        choose_subnet([], prefix)


def test_candidates_are_private_and_miss_what_others_take() -> None:
    others = networks(
        "172.17.0.0/16",
        "172.18.0.0/16",
        "172.19.0.0/16",
        "172.20.0.0/16",
        "192.168.0.0/20",
        "192.168.122.0/24",
        "10.0.0.0/16",
        "10.42.0.0/15",
        "10.88.0.0/15",
        "10.96.0.0/12",
        "10.244.0.0/16",
    )
    for candidate in CANDIDATES:
        assert candidate.is_private
        assert not any(candidate.overlaps(other) for other in others)
