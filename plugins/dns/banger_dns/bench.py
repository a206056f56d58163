"""Measures the DNS server beside dnsmasq: ``python -m banger_dns.bench NAMES SECONDS``.

A process of its own, so that the daemon's other work does not blur it. Prints JSON.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

import dns.exception
import dns.message
import dns.query
import msgspec

from banger_dns.bench_report import PARTS, RATE, Measured, Report
from banger_dns.bench_server import ZONE, bench_names

ROUNDS = 2
"""Each server is the first in one of them, so what changes with time hits both."""
LOOPBACK = "127.0.0.1"

_QUERIES = 20_000
_CLIENTS = 4
_START_S = 10.0
_GRACE_S = 30.0


class Server:
    """One that runs, and what was measured of it so far."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid, self.port = pid, port
        self.answered, self.lost = 0, 0
        self.seconds = {"most": 0.0, "rate": 0.0}
        self.cpu_s = {"most": 0.0, "rate": 0.0}
        self.latencies_ms: list[float] = []

    def run(self, part: str, queries: Path, seconds: float) -> None:
        argv = ["dnsperf", "-s", LOOPBACK, "-p", str(self.port), "-d", str(queries)]
        argv += ["-l", f"{seconds:g}", "-c", str(_CLIENTS)]
        if part == "rate":
            argv += ["-Q", str(RATE), "-v"]
        cpu_s, begun = _cpu_s(self.pid), time.monotonic()
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=seconds + _GRACE_S, check=True
        )
        self.seconds[part] += time.monotonic() - begun
        self.cpu_s[part] += _cpu_s(self.pid) - cpu_s
        for line in done.stdout.splitlines():
            words = line.split()
            if line.startswith("> "):
                # "> NOERROR vm-1.vm A 0.000211", the latency in seconds
                self.latencies_ms.append(float(words[-1]) * 1000)
            elif line.startswith("  Queries completed:") and part == "most":
                self.answered += int(words[2])
            elif line.startswith("  Queries lost:"):
                self.lost += int(words[2])

    def measured(self) -> Measured:
        centiles = statistics.quantiles(self.latencies_ms, n=100)
        return Measured(
            queries_per_s=self.answered / self.seconds["most"],
            cpu_at_most=self.cpu_s["most"] / self.seconds["most"],
            p50_ms=centiles[49],
            p99_ms=centiles[98],
            cpu_at_rate=self.cpu_s["rate"] / self.seconds["rate"],
            lost=self.lost,
        )


def measure(count: int, seconds: float) -> Report:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="banger-bench-")))
        names = [f"{name}.{ZONE}" for name, _ in bench_names(count)]
        queries = directory / "queries"
        chosen = random.Random(1).choices(names, k=_QUERIES)  # noqa: S311 - no secret
        queries.write_text("".join(f"{name} A\n" for name in chosen))
        servers = [
            stack.enter_context(_banger(count)),
            stack.enter_context(_dnsmasq(count, directory)),
        ]
        for server in servers:
            _await(server, names[-1])
        for number in range(ROUNDS):
            for part in PARTS:
                for server in servers if number % 2 else reversed(servers):
                    server.run(part, queries, seconds / ROUNDS)
        banger, dnsmasq = (server.measured() for server in servers)
    return Report(count, seconds, RATE, os.cpu_count() or 1, os.getloadavg()[0], banger, dnsmasq)


@contextmanager
def _banger(count: int) -> Iterator[Server]:
    argv = [sys.executable, "-m", "banger_dns.bench_server", str(count)]
    with _ending(argv) as process:
        assert process.stdout is not None
        yield Server(process.pid, int(process.stdout.readline()))


@contextmanager
def _dnsmasq(count: int, directory: Path) -> Iterator[Server]:
    hosts = directory / "hosts"
    hosts.write_text("".join(f"{address} {name}.{ZONE}\n" for name, address in bench_names(count)))
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    argv = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--no-resolv"]
    argv += ["--no-hosts", "--no-poll", f"--addn-hosts={hosts}", f"--local=/{ZONE}/"]
    argv += [f"--listen-address={LOOPBACK}", "--bind-interfaces", f"--port={port}", "--user=root"]
    with _ending(argv) as process:
        yield Server(process.pid, port)


@contextmanager
def _ending(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        argv, text=True, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _await(server: Server, name: str) -> None:
    deadline = time.monotonic() + _START_S
    query = dns.message.make_query(name, "A")
    while time.monotonic() < deadline:
        with suppress(OSError, dns.exception.DNSException):
            if dns.query.udp(query, LOOPBACK, timeout=1, port=server.port).answer:
                return
        time.sleep(0.05)
    raise TimeoutError(f"no answer for {name} at port {server.port} after {_START_S:g} s")


def _cpu_s(pid: int) -> float:
    """User and system time used so far: fields 14 and 15 of /proc/PID/stat (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    sys.exit(1)


if __name__ == "__main__":
    # So that what it has started is ended, too.
    signal.signal(signal.SIGTERM, _on_sigterm)
    report = measure(int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
