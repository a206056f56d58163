"""For the tests of plugins: fakes of what the daemon offers, and a test of good behaviour.

::

    async def test_the_greeting(tmp_path):
        async with life(Greet, tmp_path, {"text": "Hello"}) as vm:
            assert vm.guest.files["/etc/motd"] == b"Hello\\n"

    async def test_conformance(tmp_path):
        await conformance(Greet, tmp_path)

Order, undo, deadlines and what turns a capability off are the daemon's own code; host and
guest are in memory. Needs trio and, for tests like these, pytest-trio.
"""

from banger.testing.conformance import Nonconforming, conformance
from banger.testing.daemon import FakeDaemon, life
from banger.testing.guest import FakeGuest
from banger.testing.host import FakeFirewall, FakeHost
from banger.testing.life import Life
from banger.testing.programs import Programs
from banger.testing.vm import fake_vm

__all__ = [
    "FakeDaemon",
    "FakeFirewall",
    "FakeGuest",
    "FakeHost",
    "Life",
    "Nonconforming",
    "Programs",
    "conformance",
    "fake_vm",
    "life",
]
