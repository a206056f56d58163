"""Programs of this host that a command runs for the one who typed it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

from banger.commands.context import Context
from banger.kernel.errors import Interrupted

SIGNAL_CODE = 128
READ_BYTES = 32 << 10
ENDING_S = 5.0
"""How long a program may take to obey SIGTERM."""


def run_program(context: Context, argv: list[str], *, last: bool = False) -> int:
    """Run it with the command's own streams; its exit code, 128 + N after signal N.

    ``last``: nothing is done after it, so this process may become it. Without the terminal its
    stdin is empty, and cancelling the command ends it.
    """
    if not context.sink.terminal:
        return _code(_run_beside(context, argv))
    if last and context.sink.final:
        sys.stdout.flush()
        os.execv(argv[0], argv)  # noqa: S606 - a list, no shell
    return _code(subprocess.run(argv, check=False).returncode)


def _run_beside(context: Context, argv: list[str]) -> int:
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as program:
        assert program.stdout is not None and program.stderr is not None
        readers = [
            threading.Thread(target=_pass_on, args=(program.stdout, context.sink.out_bytes)),
            threading.Thread(target=_pass_on, args=(program.stderr, context.sink.err_bytes)),
        ]
        for reader in readers:
            reader.start()
        try:
            while any(reader.is_alive() for reader in readers):
                context.sleep(0.02)
            return program.wait()
        except Interrupted:
            program.terminate()
            raise
        finally:
            try:
                program.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                program.kill()
            for reader in readers:
                reader.join()


def _pass_on(stream: BinaryIO, write: Callable[[bytes], None]) -> None:
    while data := os.read(stream.fileno(), READ_BYTES):
        write(data)


def _code(returncode: int) -> int:
    return returncode if returncode >= 0 else SIGNAL_CODE - returncode
