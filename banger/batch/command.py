from __future__ import annotations

import os
import time

from banger.batch.check import check
from banger.batch.dry_run import dry_run
from banger.batch.expand import expand
from banger.batch.load import Script, load
from banger.batch.plan import Plan
from banger.batch.problems import Problems, TooMany, show
from banger.batch.report import Happening, Report
from banger.batch.run import run_plan
from banger.commands.context import Context
from banger.commands.declare import Argument, Command, Completion, Kind, Option
from banger.kernel.errors import BangerError, ErrorReply, Interrupted, UsageError


def run(
    context: Context,
    *,
    file: str,
    arguments: tuple[str, ...],
    check_only: bool,
    dry: bool,
) -> int:
    if check_only and dry:
        raise UsageError("--check and --dry-run exclude each other")
    report = Report(context.sink, json=context.json)
    begun = time.monotonic()
    code = Interrupted.exit_code
    try:
        code = _run(context, report, file, arguments, check_only=check_only, dry=dry)
    except BangerError as error:
        if not context.json:
            raise
        # Even then one object a line.
        report.write(Happening("failed", file, error=ErrorReply.of(error)))
        code = error.exit_code
    finally:
        report.ended(code, time.monotonic() - begun)
    return code


def _run(
    context: Context,
    report: Report,
    file: str,
    arguments: tuple[str, ...],
    *,
    check_only: bool,
    dry: bool,
) -> int:
    problems = Problems()
    script = load(file, problems)
    plan = _planned(context, script, arguments, problems)
    if problems:
        for problem in problems:
            report.problem(problem)
        for line in show(problems, script.lines):
            context.note(line)
        return UsageError.exit_code
    if check_only:
        return 0
    return dry_run(plan, context, report) if dry else run_plan(plan, context, report)


def _planned(
    context: Context, script: Script, arguments: tuple[str, ...], problems: Problems
) -> Plan:
    try:
        plan = expand(script, arguments, os.environ, problems)
        check(plan, context.session, problems)
    except TooMany:
        return ()  # the last problem tells
    return plan


COMMAND = Command(
    path=("run",),
    summary="Run a file of commands.",
    details="All of it is checked before the first command runs. '-' reads standard input. "
    "The exit code is that of the command that failed. docs/batch.md tells the language.",
    run=run,
    reply=Happening,
    streams=True,
    mutates=True,
    arguments=(
        Argument("file", "File of commands.", completion=Completion.FILE),
        Argument(
            "arguments",
            "What the file knows as ${1}, ${2} and so on.",
            required=False,
            many=True,
            metavar="ARG",
        ),
    ),
    options=(
        Option("check_only", ("--check",), "Only check the file.", Kind.FLAG),
        Option(
            "dry",
            ("--dry-run",),
            "Show what would be created, changed and deleted, and run nothing.",
            Kind.FLAG,
        ),
    ),
    examples=(
        "banger run setup.bgr",
        "banger run --check setup.bgr web 3",
        "banger run --dry-run setup.bgr",
    ),
)
