from pathlib import Path

from banger.testing import conformance, life
from banger_greet import WRITE, Greet


async def test_the_greeting_can_be_changed(tmp_path: Path) -> None:
    async with life(Greet, tmp_path, {"text": "Hello"}) as vm:
        assert vm.guest.files["/etc/motd"] == b"Hello\n"
        await vm.change(text="Bye")
        assert vm.guest.ran[-1] == ("sh", "-c", WRITE, "greet", "Bye")


async def test_conformance(tmp_path: Path) -> None:
    await conformance(Greet, tmp_path)
