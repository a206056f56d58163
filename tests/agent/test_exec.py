"""Commands: their streams, their ends, and what can go wrong at their start."""

from __future__ import annotations

import hashlib
import os
import pwd
import random
import signal
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.agent.agent_client import (
    EXIT,
    RESIZE,
    SIGNAL,
    STDIN,
    STDIN_EOF,
    STDIN_WINDOW,
    AgentClient,
    Finished,
)

MIB = 1024 * 1024
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def is_alive(pid: int) -> bool:
    """Does a process run (a zombie does not)?"""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def wait_until_dead(pid: int, timeout_s: float) -> None:
    """Poll until a process is gone."""
    end = time.monotonic() + timeout_s
    while is_alive(pid):
        assert time.monotonic() < end, f"process {pid} still runs"
        time.sleep(0.02)


def test_streams_and_exit_code(agent: AgentClient) -> None:
    done = agent.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert done == Finished(b"out\n", b"err\n", 7)


def test_many_in_a_row(agent: AgentClient) -> None:
    for number in range(30):
        assert agent.run("echo", str(number)).stdout == f"{number}\n".encode()


def test_killed_by_a_signal(agent: AgentClient) -> None:
    assert agent.run("sh", "-c", "kill -9 $$") == Finished(code=-1, signal=9)


def test_environment_and_cwd(agent: AgentClient, tmp_path: Path) -> None:
    script = 'echo "$A|$PATH|$HOME|$USER|$LOGNAME|${TERM-none}|${ASAN_OPTIONS-none}|$PWD"'
    done = agent.run("sh", "-c", script, env={"A": "x=y z", "HOME": "/h"}, cwd=str(tmp_path))
    fields = done.stdout.decode().strip().split("|")
    assert fields[0] == "x=y z"
    assert "/usr/bin" in fields[1]
    assert fields[2] == "/h"
    assert fields[3] == fields[4] == pwd.getpwuid(os.geteuid()).pw_name
    assert fields[5:7] == ["none", "none"]
    assert fields[7] == str(tmp_path)


def test_path_of_the_command_itself_is_searched(agent: AgentClient, tmp_path: Path) -> None:
    tool = tmp_path / "my-tool"
    tool.write_text("#!/bin/sh\necho found\n")
    assert agent.start("my-tool").status == 422
    tool.chmod(0o755)
    assert agent.run("my-tool", env={"PATH": f"/none:{tmp_path}"}).stdout == b"found\n"


def test_signals_and_descriptors_are_the_defaults(agent: AgentClient) -> None:
    done = agent.run("sh", "-c", "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ls /proc/self/fd")
    lines = done.stdout.split(b"\n")
    masks = [int(line.split()[1], 16) for line in lines[:2]]
    # glibc keeps 32 and 33 to itself; what we inherited for them stays as it is.
    assert [mask & ~(0b11 << 31) for mask in masks] == [0, 0]
    assert lines[3:] == [b"0", b"1", b"2", b"3", b""]


def test_own_session(agent: AgentClient) -> None:
    done = agent.run("python3", "-c", "import os; print(os.getsid(0) == os.getpid())")
    assert done.stdout == b"True\n"


@pytest.mark.parametrize(
    ("fields", "number", "named"),
    [
        ({"argv": ["no-such-command"]}, 2, "no-such-command"),
        ({"argv": ["/no/such/command"]}, 2, "/no/such/command"),
        ({"argv": ["/etc/passwd"]}, 13, "/etc/passwd"),
        ({"argv": ["/etc"]}, 13, "/etc"),
        ({"argv": [""]}, 2, ""),
        ({"argv": ["true"], "cwd": "/no/such/place"}, 2, "/no/such/place"),
        ({"argv": ["true"], "cwd": "/etc/passwd"}, 20, "/etc/passwd"),
        ({"argv": ["true"], "user": "no-such-user"}, 2, "no-such-user"),
    ],
)
def test_cannot_be_started(
    agent: AgentClient, fields: dict[str, Any], number: int, named: str
) -> None:
    argv = fields.pop("argv")
    reply = agent.start(*argv, **fields)
    assert (reply.status, reply.json["errno"]) == (422, number)
    assert named in reply.json["error"]
    assert agent.run("true").code == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"argv": []},
        {"argv": "ls"},
        {"argv": [1]},
        {"argv": ["x"], "env": {"A": 1}},
        {"argv": ["x"], "env": {"A=B": "1"}},
        {"argv": ["x"], "env": {"": "1"}},
        {"argv": ["x"], "cwd": "relative"},
        {"argv": ["x"], "tty": 1},
        {"argv": ["x"], "rows": 0},
        {"argv": ["x"], "cols": 65536},
        {"argv": ["x"], "timeout_ms": -1},
        {"argv": ["x"], "surprise": 1},
    ],
)
def test_bad_fields(agent: AgentClient, body: dict[str, Any]) -> None:
    reply = agent.request("POST", "/v1/exec", body, Upgrade="banger-exec")
    assert reply.status == 400
    assert agent.request("GET", "/healthz").status == 200


def test_upgrade_is_needed(agent: AgentClient) -> None:
    assert agent.request("POST", "/v1/exec", {"argv": ["true"]}).status == 426


@needs_root
def test_other_user(agent: AgentClient) -> None:
    done = agent.run("sh", "-c", "id -u; id -g; echo $USER; echo me >/dev/stderr", user="nobody")
    assert done.stdout.split()[0] == b"65534"
    assert done.stdout.split()[2] == b"nobody"
    assert done.stderr == b"me\n"
    assert agent.run("id", "-u", user="12345").stdout == b"12345\n"


def test_large_output(agent: AgentClient) -> None:
    done = agent.run("sh", "-c", f"head -c {8 * MIB} /dev/zero; head -c {MIB} /dev/zero >&2")
    assert (len(done.stdout), len(done.stderr)) == (8 * MIB, MIB)


def test_stdin_larger_than_the_window(agent: AgentClient) -> None:
    data = random.Random(1).randbytes(4 * MIB)
    done = agent.run("sha256sum", stdin=data)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert done.credit == len(data)


def test_both_ways_at_once(agent: AgentClient) -> None:
    data = random.Random(2).randbytes(3 * MIB)
    assert agent.start("cat").status == 101
    sent = 0
    while sent < len(data):
        size = min(agent.window, 65536, len(data) - sent)
        if size:
            agent.send_frame(STDIN, data[sent : sent + size])
            sent += size
        else:
            agent.frame()
    agent.send_frame(STDIN_EOF)
    assert agent.finish().stdout == data


def test_a_command_that_reads_nothing_blocks_no_signal(agent: AgentClient) -> None:
    assert agent.start("sleep", "1000").status == 101
    agent.write_stdin(b"x" * STDIN_WINDOW)
    agent.send_frame(SIGNAL, bytes([signal.SIGTERM]))
    done = agent.finish()
    assert (done.code, done.signal) == (-1, signal.SIGTERM)


def test_input_nobody_reads_is_credited(agent: AgentClient) -> None:
    done = agent.run("sh", "-c", "exec <&-; sleep 0.3", stdin=b"x" * STDIN_WINDOW)
    assert done.code == 0
    assert done.credit == STDIN_WINDOW


def test_slow_reader_loses_nothing(agent: AgentClient) -> None:
    assert agent.start("sh", "-c", f"head -c {2 * MIB} /dev/zero; echo end >&2").status == 101
    time.sleep(0.5)
    done = agent.finish()
    assert (len(done.stdout), done.stderr) == (2 * MIB, b"end\n")


def test_signal_reaches_the_group(agent: AgentClient) -> None:
    script = "trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.05; done"
    assert agent.start("sh", "-c", script).status == 101
    agent.until_output(b"ready")
    agent.send_frame(SIGNAL, bytes([200]))
    agent.send_frame(SIGNAL, bytes([0]))
    agent.send_frame(SIGNAL, bytes([signal.SIGUSR1]))
    done = agent.finish()
    assert (done.code, done.stdout) == (3, b"ready\ngot\n")


def test_timeout(agent: AgentClient) -> None:
    begun = time.monotonic()
    done = agent.run("sleep", "1000", timeout_ms=200)
    assert done == Finished(code=-1, signal=signal.SIGTERM, timed_out=True)
    assert 0.2 <= time.monotonic() - begun < 2


def test_timeout_of_one_that_will_not_go(agent: AgentClient) -> None:
    script = "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 0.1; done"
    assert agent.start("sh", "-c", script, timeout_ms=200).status == 101
    agent.until_output(b"\n")
    done = agent.finish()
    assert (done.signal, done.timed_out) == (signal.SIGKILL, True)
    wait_until_dead(int(done.stdout), 1)


def test_background_child_is_not_waited_for(agent: AgentClient) -> None:
    begun = time.monotonic()
    done = agent.run("sh", "-c", "sleep 1000 & echo $!")
    assert time.monotonic() - begun < 3
    assert done.code == 0
    child = int(done.stdout)
    assert is_alive(child)
    os.kill(child, signal.SIGKILL)


def test_background_child_that_writes_for_ever(agent: AgentClient) -> None:
    done = agent.run("sh", "-c", "yes & echo $! >&2; sleep 0.1")
    os.kill(int(done.stderr), signal.SIGKILL)
    assert done.code == 0
    assert agent.request("GET", "/healthz").status == 200


def test_client_that_leaves_ends_the_session(agent: AgentClient) -> None:
    script = "trap '' HUP; sleep 1000 & echo $! $$; while :; do sleep 0.1; done"
    assert agent.start("sh", "-c", script).status == 101
    agent.until_output(b"\n")
    child, parent = map(int, agent.finished.stdout.split())
    agent.close()
    wait_until_dead(child, 4)
    wait_until_dead(parent, 4)


def test_client_that_leaves_while_output_floods(agent: AgentClient) -> None:
    assert agent.start("sh", "-c", "echo $$; exec yes").status == 101
    agent.until_output(b"\n")
    pid = int(agent.finished.stdout.split()[0])
    agent.close()
    wait_until_dead(pid, 4)


def test_terminal(agent: AgentClient) -> None:
    assert (
        agent.start(
            "sh",
            "-c",
            "test -t 0 && stty size; echo $TERM; cat; echo end >&2",
            tty=True,
            rows=11,
            cols=99,
        ).status
        == 101
    )
    agent.until_output(b"11 99\r\nxterm-256color\r\n")
    agent.send_frame(STDIN, b"typed\n")
    agent.until_output(b"typed\r\ntyped\r\n")
    agent.send_frame(STDIN_EOF)
    done = agent.finish()
    assert done.stdout.endswith(b"end\r\n")
    assert (done.stderr, done.code) == (b"", 0)


def test_terminal_resize(agent: AgentClient) -> None:
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"
    assert agent.start("sh", "-c", script, tty=True).status == 101
    agent.until_output(b"ready")
    agent.send_frame(RESIZE, struct.pack(">HH", 50, 132))
    agent.until_output(b"50 132")
    assert agent.finish().code == 0


def test_terminal_interrupt_key_and_foreground_signal(agent: AgentClient) -> None:
    for how in ("key", "frame"):
        assert agent.start("cat", tty=True).status == 101
        agent.send_frame(STDIN, b"x\n")
        agent.until_output(b"x\r\nx\r\n")
        if how == "key":
            agent.send_frame(STDIN, b"\x03")
        else:
            agent.send_frame(SIGNAL, bytes([signal.SIGINT]))
        assert agent.finish().signal == signal.SIGINT


def test_terminal_keeps_the_last_words(agent: AgentClient) -> None:
    for _ in range(10):
        done = agent.run("sh", "-c", "head -c 60000 /dev/zero | tr '\\0' x; echo END", tty=True)
        assert len(done.stdout) == 60005
        assert done.stdout.endswith(b"END\r\n")


def test_sessions_are_counted(agent: AgentClient) -> None:
    before = agent.request("GET", "/healthz").json["sessions"]
    assert agent.run("true").code == 0
    assert agent.request("GET", "/healthz").json["sessions"] == before


def test_exit_is_the_last_frame(agent: AgentClient) -> None:
    assert agent.start("sh", "-c", "echo out; echo err >&2").status == 101
    kinds: list[int] = []
    while not kinds or kinds[-1] != EXIT:
        kinds.append(agent.frame()[0])
    time.sleep(0.1)
    assert agent.buffer == b""
    assert agent.request("GET", "/healthz").status == 200


def test_writer_in_a_thread_while_reading(agent: AgentClient) -> None:
    """A client that writes and reads independently, as a terminal does."""
    assert agent.start("cat").status == 101

    def write() -> None:
        for number in range(200):
            agent.send_frame(STDIN, f"{number}\n".encode())
        agent.send_frame(STDIN_EOF)

    writer = threading.Thread(target=write)
    writer.start()
    done = agent.finish()
    writer.join()
    assert done.stdout == "".join(f"{number}\n" for number in range(200)).encode()
