"""Names of VMs and images."""

from __future__ import annotations

import itertools
import re
from collections.abc import Container
from typing import Annotated

import msgspec

from banger.kernel.errors import UsageError

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z"
"""A VM's name becomes a DNS label and a hostname (RFC 1123). ``$`` would let a newline follow."""

VmName = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, max_length=63)]
ImageName = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, max_length=63)]

RESERVED_NAMES = frozenset({"localhost"})
"""A VM of such a name would stand for the guest itself in every guest, and for the host here."""

_ADJECTIVES = (
    "amber bold brisk calm clever coral crisp daring eager early fair fleet gentle golden "
    "happy hardy jolly keen kind lively loyal lucky mellow merry mild neat nimble noble "
    "patient plucky proud quick quiet ready rustic sandy silver sleek snowy solid spry steady "
    "sunny swift tidy tranquil vivid warm wise witty"
).split()
_NOUNS = (
    "alder badger beaver birch bison cedar condor cougar crane dolphin eagle egret falcon fern "
    "finch fox gecko hare hawk heron ibex jay kestrel lark lemur linden lynx magpie maple "
    "marten moose newt oak orca osprey otter owl panda petrel pine plover puffin raven robin "
    "salmon sparrow stork swan tapir thrush toucan walrus willow wren yak"
).split()


def check_name(kind: str, name: str) -> str:
    """The name, if it is a legal one. ``kind`` says what it names. Raises `UsageError`."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(
            f"{name[:80]!r} is not a legal {kind} name",
            hint="1 to 63 lower-case letters, digits and '-', neither first nor last a '-'",
        )
    return name


def make_up_name(taken: Container[str]) -> str:
    """A memorable name that is not taken; numbered once chance has missed a few times."""
    import secrets  # it loads OpenSSL, which clients that make up no names can do without

    for attempt in itertools.count():
        name = f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}"
        if attempt >= 20:
            name = f"{name}-{attempt}"
        if name not in taken:
            return name
    raise AssertionError("unreachable")
