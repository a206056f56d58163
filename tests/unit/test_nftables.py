"""What nft's refusals become."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.host import nftables
from banger.kernel.errors import CommandFailed, HostNotReady


def nft_that_says(text: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = directory / "nft"
    program.write_text(f"#!/bin/sh\ncat >/dev/null\ncat >&2 <<'END'\n{text}\nEND\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


def test_no_nft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("banger.host.nftables.shutil.which", lambda *_, **__: None)
    with pytest.raises(HostNotReady, match="nft is missing") as caught:
        nftables.apply("")
    assert caught.value.hint == "apt-get install nftables"


def test_the_line_that_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complaint = "/dev/stdin:3:5-7: Error: syntax error, unexpected foo\nadd rule foo bar\n    ^^^"
    nft_that_says(complaint, tmp_path, monkeypatch)
    with pytest.raises(CommandFailed) as caught:
        nftables.apply("add rule foo bar")
    assert (
        caught.value.message == "nft -f -: exit 1: syntax error, unexpected foo: add rule foo bar"
    )


def test_no_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nft_that_says(
        "netlink: Error: cache initialization failed: Operation not permitted",
        tmp_path,
        monkeypatch,
    )
    with pytest.raises(HostNotReady, match="not permitted") as caught:
        nftables.apply("")
    assert "CAP_NET_ADMIN" in caught.value.hint
