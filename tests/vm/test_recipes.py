"""An image made for real on another one, with a recipe, a package and a script; then booted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.vm.conftest import NewInstance

RECIPE = """
base = "debian"

[[files]]
path = "/root/.greeting"
content = "good day"

[[commands]]
name = "remember"
run = "echo step >/etc/remember"

[[commands]]
name = "what can't be done"
run = "false"
optional = true

[services]
off = ["ssh.service"]
"""

SCRIPT = """
cat /etc/remember >/etc/told
id -u >>/etc/told
ls -d /proc/[0-9]* | wc -l >>/etc/told
"""


def test_an_image_built_on_another(new_instance: NewInstance, tmp_path: Path) -> None:
    """There is no network here: the package is one that the base has."""
    instance = new_instance()
    recipe, script = tmp_path / "mine.toml", tmp_path / "set-up.sh"
    recipe.write_text(RECIPE)
    script.write_text(SCRIPT)
    options = ["image", "build", "mine", "--from", "debian", "--recipe", str(recipe)]
    options += ["--size", "5G", "--package", "nano", "--run", str(script)]
    built = instance.run(*options)
    assert "skipped, for it is optional: what can't be done" in built.stderr
    assert "is up to date" in instance.run(*options).stdout

    view = instance.json("image", "show", "mine")
    assert view["disk_bytes"] == 5 << 30
    facts = json.loads((Path(view["path"]) / "build.json").read_text())
    base = next(instance.paths.images.glob("debian-*/build.json"))
    assert facts["skipped"] == ["what can't be done"]
    assert facts["packages"] == json.loads(base.read_text())["packages"]

    instance.create("made", "--image", "mine")
    step, user, processes = instance.sh("made", "cat /etc/told").split()
    assert (step, user) == ("step", "0")
    assert int(processes) < 10, "it saw the host's processes"
    assert instance.sh("made", "cat /root/.greeting") == "good day"
    modes = instance.sh("made", "stat -c %a /usr/bin/su /tmp /etc /root").split()
    assert modes == ["4755", "1777", "755", "700"]
    assert "cap_net_raw=ep" in instance.sh("made", "getcap /usr/bin/ping")
    assert instance.sh("made", "ls -A /boot; ls /usr/sbin/policy-rc.d || true") == ""

    nothing = ["image", "build", "none", "--from", "debian", "--package", "x-y"]
    assert "Unable to locate package x-y" in instance.run(*nothing, code=5).stderr
    assert not list(instance.paths.images.glob("*none*/root.ext4"))
    shutil.rmtree(instance.paths.state / "image-logs")


def test_an_image_is_changed_in_a_shell(new_instance: NewInstance) -> None:
    instance = new_instance()
    script = b"echo kept >/etc/kept; echo home >/root/home; cat /etc/machine-id >/etc/first-id\n"
    customize = ["image", "customize", "debian", "--shell", "--as", "mine"]
    assert "nobody can be asked" in instance.error(*customize, code=2)
    saved = instance.run_bytes(*customize, "--save", input=script)
    assert b"image mine built" in saved.stdout
    assert instance.names() == set(), "its VM is still there"

    instance.create("made", "--image", "mine")
    assert instance.sh("made", "cat /etc/kept /root/home") == "kept\nhome\n"
    assert instance.sh("made", "cmp /etc/machine-id /etc/first-id", code=1)
    assert "made of a VM's disks" in instance.error("image", "build", "x", "--from", "mine", code=4)
