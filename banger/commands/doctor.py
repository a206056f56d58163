from __future__ import annotations

from banger.commands.context import Context
from banger.commands.declare import Command, Kind, Option
from banger.kernel.errors import BangerError
from banger.model.finding import Finding, Level
from banger.model.requests.control import GetStatus
from banger.model.requests.doctor import RunDoctor
from banger.model.text import printable

_MARKS = {Level.OK: "ok", Level.WARNING: "warning", Level.FAILED: "FAILED"}


def run(context: Context, *, leaks: bool, fix: bool) -> int:
    findings = _findings(context, leaks=leaks, fix=fix)
    context.document(findings)
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        for line in _lines(finding, width):
            context.line(line)
    return int(any(finding.level is Level.FAILED for finding in findings))


def _findings(context: Context, *, leaks: bool, fix: bool) -> list[Finding]:
    """First whether there is a daemon at all; the rest it finds out itself."""
    try:
        status = context.call(GetStatus())
        found = context.call(RunDoctor(leaks=leaks, fix=fix))
    except BangerError as error:
        return [Finding("daemon", Level.FAILED, error.message, error.hint)]
    text = f"bangerd {status.version} runs, pid {status.pid}, at {status.socket}"
    return [Finding("daemon", Level.OK, text), *found]


def _lines(finding: Finding, width: int) -> list[str]:
    mark = _MARKS[finding.level]
    lines = [f"{mark:7}  {printable(finding.check):{width}}  {printable(finding.summary)}"]
    details = []
    if finding.fixed:
        details.append(f"fixed: {finding.fixed}")
    if finding.level is not Level.OK:
        details += finding.remedy.splitlines()
        if finding.fixable and not finding.fixed:
            details.append("'banger doctor --fix' does it")
    return lines + [" " * 9 + printable(detail) for detail in details]


COMMAND = Command(
    path=("doctor",),
    summary="Check this host and the daemon, and say what to do.",
    details="Exits with 1 when something that is needed does not work.",
    run=run,
    reply=list[Finding],
    mutates=True,
    options=(
        Option("fix", ("--fix",), "Do what can be done at once.", Kind.FLAG),
        Option("leaks", ("--leaks",), "Look for what belongs to no VM as well.", Kind.FLAG),
    ),
    examples=("banger doctor", "banger doctor --leaks --json"),
)
