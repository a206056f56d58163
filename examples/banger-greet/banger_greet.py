from typing import Annotated

from banger.capabilities import (
    API_VERSION,
    Capability,
    GuestContribution,
    GuestError,
    Options,
    Setting,
    Step,
    Vm,
    VmState,
    option,
)

WRITE = 'printf "%s\\n" "$1" "This is $(uname -sr)." >/etc/motd'


class Greeting(Options, frozen=True):
    text: Annotated[str, option("Say this at login.", "--greeting", metavar="TEXT")] = ""


class Greet(Capability[Greeting]):
    api_version = API_VERSION
    name = "greet"
    summary = "A greeting at login."
    options = Greeting
    settings = (Setting("text", "Welcome.", "Greeting of new VMs that are given none."),)

    def defaults(self) -> Greeting:
        return Greeting(self.host.settings.text("text"))

    def contribute(self, vm: Vm, options: Greeting, guest: GuestContribution) -> None:
        guest.file("/etc/motd", f"{options.text}\n")

    async def started(self, vm: Vm, options: Greeting, step: Step) -> None:
        step.progress("asking the guest for its kernel")
        done = await self.host.guest_run(vm, ["sh", "-c", WRITE, "greet", options.text])
        if done.code != 0:
            raise GuestError(f"can't greet in VM {vm.name!r}: {done.stderr.decode()}")

    async def changed(self, vm: Vm, before: Greeting, options: Greeting, step: Step) -> None:
        if vm.state is VmState.RUNNING:
            step.undo(lambda: self.started(vm, before, step))
            await self.started(vm, options, step)
