"""What can be said of a VM."""

from __future__ import annotations

from typing import Annotated

from banger.capabilities import Options, option

from banger_dns.names import labels_of

NOTHING = "none"
MOST = 64
"""Aliases of one VM."""


class DnsOptions(Options, frozen=True):
    enabled: Annotated[
        bool, option("Have names in banger's DNS, and look up others' there.", "--dns")
    ] = True
    alias: Annotated[
        list[str],
        option(
            "One more name in the zone for the VM, like 'db' or 'api.web'; 'none' for none.",
            "--dns-alias",
            metavar="NAME",
            max_length=MOST,
        ),
    ] = []

    def __post_init__(self) -> None:
        aliases = self.aliases
        for text in aliases:
            try:
                labels_of(text)
            except ValueError as error:
                raise ValueError(f"--dns-alias: {error}") from None

    @property
    def aliases(self) -> tuple[str, ...]:
        """In lower case, none twice."""
        if self.alias == [NOTHING]:
            return ()
        return tuple(dict.fromkeys(text.lower().removesuffix(".") for text in self.alias))
