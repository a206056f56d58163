"""Brings one VM of a stack to its state: the actions of its plan, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from banger.client.exec import capture_exec
from banger.client.ssh import forget_host
from banger.client.transfer import GuestPlace, Transfer
from banger.commands.context import Context
from banger.kernel.errors import BangerError, GuestError, TimedOut
from banger.model.requests.exec import Exec, ExecResult
from banger.model.requests.vms import CreateVm, DeleteVm, SetVm, StartVm, StopVm
from banger.model.vm import VmState
from banger.stack.definition import Health, Member, Stack, Step
from banger.stack.labels import OPTIONS, PROVISION
from banger.stack.plan import Action, Verb, VmPlan, labels_of

OUTPUT_SHOWN = 2000
"""Characters of what a failed step has said, from its end."""
SCRIPT_PLACE = "/run/banger-provision"
"""Where a step's script lies in the guest while it runs."""

Tell = Callable[[str], None]


class Bringing:
    """``tell`` hears a line of each thing done. Methods raise the error of what failed."""

    def __init__(self, context: Context, stack: Stack, plan: VmPlan, tell: Tell) -> None:
        self._context = context
        self._stack = stack
        self._plan = plan
        self._name = plan.name
        self._tell = tell

    def run(self, *, check_health: bool) -> None:
        for action in self._plan.due:
            begun = time.monotonic()
            said = self._do(action)
            self._tell(f"{self._name} {said} in {time.monotonic() - begun:.1f} s")
        if check_health and self._member.table.health is not None:
            self._await_health(self._member.table.health)

    @property
    def _member(self) -> Member:
        assert self._plan.member is not None
        return self._plan.member

    def _do(self, action: Action) -> str:
        """Returns what has been done."""
        name, call = self._name, self._context.call
        match action.verb:
            case Verb.CREATE:
                self._create()
                return "created"
            case Verb.RECREATE:
                self._delete()
                self._create()
                return "created anew"
            case Verb.RESHAPE:
                return self._reshape()
            case Verb.SET:
                self._set()
                return "changed"
            case Verb.START:
                call(StartVm(name))
                return "started"
            case Verb.STOP:
                call(StopVm(name))
                return "stopped"
            case Verb.PROVISION:
                self._provision()
                return "provisioned"
            case Verb.DELETE:
                self._delete()
                return "deleted"

    def _create(self) -> None:
        table = self._member.table
        request = CreateVm(
            name=self._name,
            image=table.image,
            vcpus=table.vcpus,
            memory_mib=table.memory,
            disk_bytes=table.disk_bytes,
            labels=labels_of(self._stack, self._member),
            options=table.options,
            start=table.state == "running",
        )
        self._context.call(request)

    def _delete(self) -> None:
        self._context.call(DeleteVm(self._name))
        forget_host(self._context.paths, self._name)

    def _reshape(self) -> str:
        table, view = self._member.table, self._plan.view
        assert view is not None
        grown = table.disk_bytes if table.disk_bytes != view.disk_bytes else None
        restart = view.state is VmState.RUNNING and table.state == "running"
        if restart:
            self._context.call(StopVm(self._name))
        try:
            request = SetVm(
                self._name, vcpus=table.vcpus, memory_mib=table.memory, disk_bytes=grown
            )
            self._context.call(request)
        finally:
            if restart:
                self._context.call(StartVm(self._name))
        return "stopped, changed and started" if restart else "changed"

    def _set(self) -> None:
        view = self._plan.view
        assert view is not None
        labels: dict[str, str | None] = {**labels_of(self._stack, self._member)}
        labels.setdefault(OPTIONS, None)
        changed = {key: value for key, value in labels.items() if view.labels.get(key) != value}
        options = self._member.table.options if OPTIONS in changed else {}
        self._context.call(SetVm(self._name, labels=changed, options=options))

    # --- in the guest ---

    def _provision(self) -> None:
        """All steps in their order; the label tells that they have run once all have."""
        steps = self._member.table.provision
        for number, step in enumerate(steps, 1):
            try:
                self._step(step)
            except OSError as error:
                raise BangerError(f"can't copy {step.title}: {error.strerror}") from error
            except BangerError as error:
                what = f"VM {self._name!r}: step {number} of {len(steps)} ({step.title})"
                raise GuestError(f"{what}: {error.message}", hint=error.hint) from error
        digest: dict[str, str | None] = {PROVISION: self._member.provision_digest}
        self._context.call(SetVm(self._name, labels=digest))

    def _step(self, step: Step) -> None:
        if step.copy is not None:
            assert step.to is not None
            self._upload(step.copy, step.to, step.user or "root")
        elif step.script is not None:
            self._upload(step.script, SCRIPT_PLACE, step.user or "root")
            script = f"chmod 0700 {SCRIPT_PLACE} && {SCRIPT_PLACE}"
            try:
                self._exec(["sh", "-c", script], step.user, step.timeout)
            finally:
                self._exec(["rm", "-f", SCRIPT_PLACE], "root", step.timeout)
        else:
            self._exec(["sh", "-ec", step.run or ""], step.user, step.timeout)

    def _upload(self, source: str, target: str, user: str) -> None:
        path = Path(self._stack.directory, source)
        place = GuestPlace(self._name, PurePosixPath(target), target.endswith("/"))
        Transfer(self._context.daemon, user).upload(path, place)

    def _exec(self, argv: list[str], user: str, timeout_s: float) -> None:
        result, output = self._captured(argv, user, timeout_s)
        if result.timed_out:
            raise TimedOut(f"it has not ended after {timeout_s:g} s")
        if result.code != 0:
            ended = f"signal {result.signal}" if result.signal else f"exit code {result.code}"
            for line in output[-OUTPUT_SHOWN:].splitlines():
                self._tell(f"{self._name} | {line}")
            raise GuestError(ended)

    def _captured(self, argv: list[str], user: str, timeout_s: float) -> tuple[ExecResult, str]:
        request = Exec(self._name, argv, user=user, timeout_s=timeout_s)
        result, out, err = capture_exec(self._context.daemon, request)
        return result, (out + err).decode(errors="replace")

    def _await_health(self, health: Health) -> None:
        begun = time.monotonic()
        while True:
            left_s = max(health.timeout - (time.monotonic() - begun), 0.1)
            result, output = self._captured(health.argv, "", left_s)
            if result.code == 0 and not result.timed_out:
                if self._plan.due:
                    self._tell(f"{self._name} is healthy after {time.monotonic() - begun:.1f} s")
                return
            if time.monotonic() - begun + health.every >= health.timeout:
                said = output.strip().splitlines()[-1:] or ["it says nothing"]
                raise TimedOut(
                    f"VM {self._name!r} is not healthy after {health.timeout:g} s: {said[0][:200]}",
                    hint="its health command must exit with 0",
                )
            self._context.sleep(health.every)
