"""The download, from a server of the test's own on loopback."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from banger_void.fetch import Refused, fetch

DATA = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(DATA).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA[:1000] if self.path == "/cut" else DATA)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_the_right_file(server: str, tmp_path: Path) -> None:
    assert fetch(f"{server}/t", tmp_path / "t", SHA256) == SHA256
    assert (tmp_path / "t").read_bytes() == DATA


@pytest.mark.parametrize(
    ("path", "sha256", "complaint"),
    [
        ("/t", "0" * 64, f"has the SHA-256 {SHA256}, not 0000"),
        ("/t", "", "no checksum for .*: set capabilities.void.rootfs_sha256"),
        ("/t", "abc", "'abc' is no SHA-256"),
        ("/cut", SHA256, "cut off after 1000 of 1280000 bytes"),
        ("/missing", SHA256, "can't get .*/missing: .*404"),
        ("/away", SHA256, "can't get .*/away: .*302"),
    ],
)
def test_what_is_refused(
    server: str, tmp_path: Path, path: str, sha256: str, complaint: str
) -> None:
    with pytest.raises(Refused, match=complaint):
        fetch(server + path, tmp_path / "t", sha256)


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"can't get http://127\.0\.0\.1:1/t"):
        fetch("http://127.0.0.1:1/t", tmp_path / "t", SHA256)


def test_no_other_kind_of_url(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="only https and http are known"):
        fetch("file:///etc/passwd", tmp_path / "t", SHA256)


def test_a_limit(server: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="larger than 1000 bytes"):
        fetch(f"{server}/t", tmp_path / "t", SHA256, limit_bytes=1000)


def test_a_file_needs_no_checksum_but_is_held_to_one(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    assert fetch(str(source), tmp_path / "1", "") == SHA256
    assert fetch(str(source), tmp_path / "2", SHA256) == SHA256
    with pytest.raises(Refused, match="not 1111"):
        fetch(str(source), tmp_path / "3", "1" * 64)
    with pytest.raises(Refused, match="is no file"):
        fetch(str(tmp_path), tmp_path / "4", "")
