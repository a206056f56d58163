"""Domain names as tuples of labels: lower case, most specific first, without the root."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address

Labels = tuple[bytes, ...]

IN_ADDR_ARPA: Labels = (b"in-addr", b"arpa")
LONGEST_NAME = 255
"""Bytes of a name on the wire (RFC 1035, 3.1)."""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


def labels_of(text: str) -> Labels:
    """``"Web.vm."`` becomes ``(b"web", b"vm")``.

    Raises ValueError for what is no host name (letters, digits, ``-`` and ``_``).
    """
    lowered = text.removesuffix(".").lower()
    parts = lowered.split(".")
    if not all(_LABEL.fullmatch(part) for part in parts):
        raise ValueError(f"{text!r} is not a host name")
    labels = tuple(part.encode("ascii") for part in parts)
    if len(wire_of(labels)) > LONGEST_NAME:
        raise ValueError(f"the name {text!r} is longer than {LONGEST_NAME} bytes")
    return labels


def wire_of(labels: Iterable[bytes]) -> bytes:
    """The uncompressed form on the wire (RFC 1035, 3.1)."""
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def text_of(labels: Labels) -> str:
    """For people; anything but printable ASCII is escaped."""
    joined = b".".join(labels) or b"."
    return "".join(chr(byte) if 0x20 < byte < 0x7F else f"\\{byte:03}" for byte in joined)


def reverse_of(address: IPv4Address) -> Labels:
    """The name whose PTR record names *address*."""
    return (*(b"%d" % octet for octet in reversed(address.packed)), *IN_ADDR_ARPA)


def octets_of(labels: Labels) -> bytes:
    """The leading octets of the network that a name under in-addr.arpa stands for.

    Reading ends at the first label that is no octet in its only spelling, and after four.
    """
    octets = bytearray()
    for label in labels[-3:-7:-1]:
        if not label.isdigit() or label != b"%d" % int(label) or int(label) > 255:
            break
        octets.append(int(label))
    return bytes(octets)
