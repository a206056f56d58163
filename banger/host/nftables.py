"""nftables, by its ``nft`` program: one transaction an `apply`. Synchronous, for threads."""

from __future__ import annotations

import os
import shutil
import subprocess

from banger.host.links import RIGHTS_HINT
from banger.host.ruleset import render_removal
from banger.kernel.errors import CommandFailed, HostNotReady, TimedOut

FAMILIES = ("bridge", "inet")
DEADLINE_S = 30.0


def apply(text: str) -> None:
    """Run the text as one transaction: all of it or nothing.

    Raises `HostNotReady` without nft or the right to use it, `CommandFailed` with the line
    that nft did not take, `TimedOut` after 30 s.
    """
    run_nft("-f", "-", text=text)


def installed(table: str) -> str:
    """Both halves of the table as nft lists them, without counters; "" when it is not there.

    nft sorts what a set holds, so listings of one state are equal. Errors as in `apply`.
    """
    return "".join(_listing(family, table) for family in FAMILIES)


def remove(table: str) -> None:
    """Remove both halves of the table in one transaction. Idempotent. Errors as in `apply`."""
    apply(render_removal(table))


def run_nft(*arguments: str, text: str = "") -> str:
    """nft's standard output. Errors as in `apply`."""
    # An ordinary user's PATH has no sbin, and a daemon may have been given it.
    nft = shutil.which("nft", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if nft is None:
        raise HostNotReady(
            "the program nft is missing, the VMs' firewall needs it",
            hint="apt-get install nftables",
        )
    try:
        done = subprocess.run(
            [nft, *arguments],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DEADLINE_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise TimedOut(f"nft {' '.join(arguments)} did not end within {DEADLINE_S:.0f} s") from None
    if done.returncode == 0:
        return done.stdout
    if "Operation not permitted" in done.stderr:
        raise HostNotReady("not permitted to use nftables", hint=RIGHTS_HINT)
    raise CommandFailed(["nft", *arguments], done.returncode, _complaint(done.stderr))


def _listing(family: str, table: str) -> str:
    try:
        return run_nft("--stateless", "list", "table", family, table)
    except CommandFailed as error:
        if "No such file or directory" in error.stderr:
            return ""
        raise


def _complaint(stderr: str) -> str:
    """nft's first error and the line it is about; below them it underlines the place."""
    lines = stderr.splitlines()
    for number, line in enumerate(lines):
        _, error, reason = line.partition("Error: ")
        if error:
            return ": ".join([reason, *(rule.strip() for rule in lines[number + 1 : number + 2])])
    return stderr
