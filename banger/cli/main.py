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

import contextlib
import os
import signal
import sys
import traceback

import msgspec

from banger.kernel.errors import (
    ERROR_TEXT_LIMIT,
    BangerError,
    ErrorDocument,
    ErrorReply,
    UsageError,
)
from banger.model.text import printable

INTERRUPTED_CODE = 130
SIGNAL_CODE = 128
"""Plus the signal's number, as shells have it."""


def main() -> None:
    _open_standard_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As an exception, so that what is half done is cleaned up.
        signal.signal(number, lambda number, _: sys.exit(SIGNAL_CODE + number))
    arguments = sys.argv[1:]
    # What follows '--' is a guest's command: its flags are not ours.
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    sys.exit(run(arguments, json="--json" in ours, debug="--debug" in ours))


def run(arguments: list[str], *, json: bool, debug: bool) -> int:
    from banger.cli.invocation import parse
    from banger.cli.plugins import Plugins
    from banger.cli.tree import Group
    from banger.commands.context import Context
    from banger.commands.session import Session
    from banger.commands.sink import ProcessSink

    try:
        with Session() as session:
            plugins = Plugins(session.interface)
            try:
                if not arguments and _sits_at_a_terminal():
                    arguments = ["repl"]
                invocation = parse(arguments, plugins)
            except Group as group:
                from banger.cli.help import help_text

                sys.stderr.write(help_text(group.path, plugins) + "\n")
                return group.exit_code
            with Context(
                session, ProcessSink(final=True, live=invocation.progress), json=invocation.json
            ) as context:
                return invocation.run(context)
    except KeyboardInterrupt:
        sys.stderr.write("banger: interrupted\n")
        return INTERRUPTED_CODE
    except BangerError as error:
        if debug:
            traceback.print_exc()
        return _report(error, json)
    except UnicodeEncodeError as error:
        return _report(UsageError(f"{error.object[:80]!r} is not UTF-8"), json)
    except BrokenPipeError:
        # Whoever read our output has enough.
        _drop_output()
        return 1
    except OSError as error:
        # A full disk behind our output, say.
        if debug:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        code = _report(BangerError(f"can't go on: {where}{error.strerror or error}"), json)
        _drop_output()
        return code
    except Exception as error:
        if debug:
            traceback.print_exc()
        bug = BangerError(f"internal error: {error!r}", hint="--debug shows where")
        return _report(bug, json)


def _sits_at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _report(error: BangerError, json: bool) -> int:
    # When the stream is the trouble, the exit code has to do.
    with contextlib.suppress(OSError):
        if json:
            document = msgspec.json.encode(ErrorDocument(ErrorReply.of(error)))
            sys.stdout.write(msgspec.json.format(document).decode() + "\n")
            sys.stdout.flush()
        else:
            sys.stderr.write(printable(f"banger: {error}", limit=ERROR_TEXT_LIMIT) + "\n")
            sys.stderr.flush()
    return error.exit_code


def _drop_output() -> None:
    """What is still in stdout's buffer must not fail once more when it is flushed at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
