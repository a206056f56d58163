"""What the kernel counts at interfaces."""

from __future__ import annotations

import socket
import subprocess

from banger.host.link_usage import read_traffic


def test_counted_at_the_interface() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    before = read_traffic()["lo"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(10):
            sock.sendto(bytes(1000), ("127.0.0.1", 9))
    after = read_traffic()["lo"]
    assert after.tap == "lo"
    assert after.sent_bytes - before.sent_bytes >= 10_000
    assert after.received_packets - before.received_packets >= 10
