"""A host that lacks something: exit code 5, what to do about it, and nothing left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance, wait_until

WITHOUT_NET_ADMIN = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")


def assert_nothing_left(own: Instance) -> None:
    assert own.names() == set()
    assert list(own.paths.vms.iterdir()) == []
    assert list(own.paths.vm_runtime.iterdir()) == []
    assert own.leased() == set()


def test_qemu_is_not_installed(new_instance: NewInstance) -> None:
    own = new_instance(BANGER_QEMU_BINARY="no-such-qemu")
    message = own.error("vm", "create", "--name", "x", code=5)
    assert "no-such-qemu" in message
    assert "qemu-system-x86" in message
    assert_nothing_left(own)


def test_qemu_fails(new_instance: NewInstance) -> None:
    own = new_instance(BANGER_QEMU_BINARY="/bin/false")
    done = own.run("vm", "create", "--name", "x", code=None)
    assert done.returncode in (1, 5)
    assert done.stderr.startswith("banger: ")
    assert "internal error" not in done.stderr
    assert_nothing_left(own)


def test_qemu_is_out_of_reach_for_its_user(new_instance: NewInstance) -> None:
    own = new_instance()
    binary = own.root / "qemu-system-x86_64"
    binary.write_bytes(Path(shutil.which(binary.name) or "").read_bytes())
    binary.chmod(0o755)
    own.environ["BANGER_QEMU_BINARY"] = str(binary)
    message = own.error("vm", "create", "--name", "x", code=5)
    assert f"{binary} can't be run by user" in message
    assert "qemu.user" in message
    assert_nothing_left(own)


def test_no_right_to_the_network(new_instance: NewInstance) -> None:
    own = new_instance(prefix=WITHOUT_NET_ADMIN)
    message = own.error("vm", "create", "--name", "x", code=5)
    assert "may not make the network devices" in message
    assert "root" in message
    assert own.daemon_pid is None
    assert own.links() == {"lo"}


def test_a_daemon_without_the_right_to_the_network(new_instance: NewInstance) -> None:
    """It serves what needs no network; a create says what is missing."""
    own = new_instance(prefix=WITHOUT_NET_ADMIN)
    own.start("daemon", "run")
    wait_until(own.paths.socket.exists, 20, "the daemon")
    for options in ((), ("--no-start",)):
        message = own.error("vm", "create", "--name", "x", *options, code=5)
        assert "CAP_NET_ADMIN" in message
    assert own.status()["subnet"] is None
    assert_nothing_left(own)
    own.run("daemon", "stop")


def test_no_image(new_instance: NewInstance) -> None:
    own = new_instance()
    for image in own.paths.images.iterdir():
        for path in image.iterdir():
            path.unlink()
        image.rmdir()
    message = own.error("vm", "create", "--name", "x", code=3)
    assert "banger image build debian" in message
    assert own.json("image", "list") == []
    assert_nothing_left(own)


def test_a_path_too_long_for_sockets(new_instance: NewInstance) -> None:
    own = new_instance()
    deep = own.root / ("d" * 90)
    own.environ["XDG_RUNTIME_DIR"] = str(deep)
    done = own.run("vm", "list", "--json", code=5)
    assert "longer than the 107 bytes" in json.loads(done.stdout)["error"]["message"]
