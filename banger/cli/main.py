"""``banger``: run one command and exit with its code.

=====  ==========================================
code   meaning
=====  ==========================================
0      done
1      something else failed
2      the command line or a value is wrong
3      no such VM, image or file
4      taken, or not legal in the present state
5      this host lacks something
130    interrupted
=====  ==========================================
"""

from __future__ import annotations

import gc
import os
import signal
import sys

SIGNAL_CODE = 128
"""Plus the signal's number, as shells have it."""

GARBAGE_OBJECTS = 100_000
"""Made before garbage is looked for. What start-up makes stays, and is fewer."""


def main() -> None:
    gc.set_threshold(GARBAGE_OBJECTS)
    _open_standard_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As an exception, so that what is half done is cleaned up.
        signal.signal(number, lambda number, _: sys.exit(SIGNAL_CODE + number))
    arguments = sys.argv[1:]
    # What follows '--' is a guest's command: its flags are not ours.
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments

    from banger.cli.run import run  # here: it loads the most, and the above is to be before that

    code = run(arguments, json="--json" in ours, debug="--debug" in ours)
    # Nothing is left to be done, and the interpreter would take 10 ms to free what the kernel
    # frees at once. What was written is out: sinks flush.
    os._exit(code)


def _open_standard_streams() -> None:
    """Those our caller has closed go nowhere; else the next file opened would be one of them."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    main()
