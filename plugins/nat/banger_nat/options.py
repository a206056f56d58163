"""What can be said of a VM."""

from __future__ import annotations

from typing import Annotated

from banger.capabilities import Options, option

from banger_nat.egress import Egress, parse_egress
from banger_nat.publication import Publication, parse_publications

MOST = 64
"""Entries of a list; each is a rule or two that every packet passes."""


class NatOptions(Options, frozen=True):
    enabled: Annotated[bool, option("Let the VM reach the world, by NAT.", "--nat")] = True
    egress: Annotated[
        list[str],
        option(
            "With NAT, reach this only: NETWORK[:PORT[-PORT][/tcp|udp]], or 'none'.",
            "--egress",
            metavar="NETWORK",
            max_length=MOST,
        ),
    ] = []
    publish: Annotated[
        list[str],
        option(
            "Lead a port of this host to the VM: [ADDRESS:]PORT:GUESTPORT[/tcp|udp], or 'none'.",
            "--publish",
            "-p",
            metavar="PORT:PORT",
            max_length=MOST,
        ),
    ] = []

    def __post_init__(self) -> None:
        for flag, parse, texts in (
            ("--egress", parse_egress, self.egress),
            ("--publish", parse_publications, self.publish),
        ):
            try:
                parse(texts)
            except ValueError as error:
                raise ValueError(f"{flag}: {error}") from None

    @property
    def reachable(self) -> tuple[Egress, ...]:
        return self.reachable_with_nat if self.enabled else ()

    @property
    def reachable_with_nat(self) -> tuple[Egress, ...]:
        return parse_egress(self.egress)

    @property
    def published(self) -> tuple[Publication, ...]:
        return parse_publications(self.publish)
