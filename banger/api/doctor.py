"""``banger doctor``, and what it says before a VM is started."""

from __future__ import annotations

from banger.api.backend import Backend
from banger.doctor import run as runner
from banger.doctor.checks import all_checks, checks_before_start
from banger.kernel.rpc import CallContext
from banger.model.finding import Finding
from banger.model.requests import doctor as requests
from banger.model.vm import Verb


async def run(backend: Backend, request: requests.RunDoctor, context: CallContext) -> list[Finding]:
    checks = all_checks(backend.doctor, leaks=request.leaks)
    return await runner.run_checks(checks, fix=request.fix)


async def refuse_unless_ready(backend: Backend, verb: Verb) -> None:
    """Raise `HostNotReady`, with the remedy, when the verb can't succeed on this host."""
    await runner.refuse_unless_ready(checks_before_start(backend.doctor), verb)
