"""The sanitised agent, built once a session, and one agent process a test on a socket pair."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.agent_client import AgentClient

SOURCE = Path(__file__).resolve().parents[2] / "guest-agent"
EXIT_TIMEOUT_S = 10
SANITIZER_REPORT = re.compile(r"(Address|Leak|UndefinedBehavior)Sanitizer|runtime error:")

StartAgent = Callable[..., AgentClient]


@pytest.fixture(scope="session")
def agent_binary() -> Path:
    """The agent with AddressSanitizer and UBSan."""
    with (SOURCE / "Makefile").open() as makefile:
        # Another process of these tests may be at it.
        fcntl.flock(makefile, fcntl.LOCK_EX)
        subprocess.run(["make", "-s", "-C", str(SOURCE), "sanitized"], check=True)
    return SOURCE / "build" / "banger-agent-asan"


@pytest.fixture
def start_agent(agent_binary: Path, tmp_path: Path) -> Iterator[StartAgent]:
    """Start an agent process with further arguments and connect to it.

    At the end of the test each must end by itself when its client leaves, with exit code 0
    and without a sanitiser's report.
    """
    started: list[tuple[subprocess.Popen[bytes], AgentClient, Path]] = []

    def start(*arguments: str, user: int | None = None) -> AgentClient:
        ours, theirs = socket.socketpair()
        log = tmp_path / f"agent-{len(started)}.log"
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0"}
        with theirs, log.open("wb") as stderr:
            process = subprocess.Popen(
                [agent_binary, "--fd", str(theirs.fileno()), *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                env=environment,
                user=user,
            )
        client = AgentClient(ours)
        started.append((process, client, log))
        return client

    yield start
    problems = []
    for process, client, log in started:
        client.close()
        try:
            code = process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        report = log.read_text(errors="replace")
        if code != 0 or SANITIZER_REPORT.search(report):
            problems.append(f"agent ended with {code}:\n{report[-8000:]}")
    assert not problems, "\n".join(problems)


@pytest.fixture
def agent(start_agent: StartAgent) -> AgentClient:
    """A client of an agent that leaves the machine alone."""
    return start_agent()
