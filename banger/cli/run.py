"""One argument line, from its words to an exit code; errors are told."""

from __future__ import annotations

import contextlib
import os
import sys

import msgspec

from banger.cli.invocation import parse
from banger.cli.plugins import Plugins
from banger.cli.tree import Group
from banger.commands.context import Context
from banger.commands.session import Session
from banger.commands.sink import ProcessSink
from banger.kernel.errors import (
    ERROR_TEXT_LIMIT,
    BangerError,
    ErrorDocument,
    ErrorReply,
    UsageError,
)
from banger.model.text import printable

INTERRUPTED_CODE = 130


def run(arguments: list[str], *, json: bool, debug: bool) -> int:
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
            _print_traceback()
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
            _print_traceback()
        where = f"{error.filename}: " if error.filename else ""
        code = _report(BangerError(f"can't go on: {where}{error.strerror or error}"), json)
        _drop_output()
        return code
    except Exception as error:
        if debug:
            _print_traceback()
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


def _print_traceback() -> None:
    import traceback  # slow to load

    traceback.print_exc()


def _drop_output() -> None:
    """What is still in stdout's buffer must not fail once more when it is flushed at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
