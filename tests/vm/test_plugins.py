"""Plugins in a running daemon: the example from its wheel, and broken ones."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import NewInstance
from tests.vm.instance import Instance

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/banger-greet"
BUILD_DEADLINE_S = 60
IMPORTING_S = 25
"""To start a daemon beside a plugin whose import hangs; that is ended after 10 s."""


def run(*argv: str, cwd: Path | None = None) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("BANGER_")}
    done = subprocess.run(
        argv, cwd=cwd, env=environ, capture_output=True, text=True, timeout=BUILD_DEADLINE_S
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh one with the example in it, installed from its wheel.

    banger and what it needs are those of this checkout: nothing of it is installed twice.
    """
    directory = tmp_path_factory.mktemp("plugin")
    sources, fresh = directory / "banger-greet", directory / "venv"
    shutil.copytree(EXAMPLE, sources)
    run(sys.executable, "-m", "venv", "--without-pip", str(fresh))
    (packages,) = fresh.glob("lib/python*/site-packages")
    ours = [path for path in site.getsitepackages() if Path(path, "trio").is_dir()]
    lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in ours)
    (packages / "banger-of-the-checkout.pth").write_text(lines)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    # Without isolation: here is no network to fetch a build backend from.
    run(
        *pip, "wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={directory}", str(sources)
    )
    (wheel,) = directory.glob("*.whl")
    run(*pip, "--python", str(fresh), "install", "--no-deps", "--no-index", str(wheel))
    return fresh


def plugins(instance: Instance) -> dict[str, dict[str, Any]]:
    """By distribution, without banger's own."""
    views = instance.json("plugin", "list")
    return {view["distribution"]: view for view in views if view["distribution"] != "banger"}


def motd(instance: Instance, name: str) -> list[str]:
    return instance.sh(name, "cat /etc/motd").splitlines()


def test_the_example_passes_its_own_tests_where_it_is_installed(venv: Path, tmp_path: Path) -> None:
    for name in ("pyproject.toml", "test_banger_greet.py"):
        shutil.copy(EXAMPLE / name, tmp_path)
    python = venv / "bin/python"
    run(str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", ".", cwd=tmp_path)


def test_the_example_acts_in_guests(venv: Path, new_instance: NewInstance) -> None:
    python = str(venv / "bin/python")
    instance = new_instance(prefix=[python], BANGER_CAPABILITIES_GREET_TEXT="Good day")
    assert "--greeting TEXT" in instance.run("vm", "create", "--help").stdout

    instance.create("box", "--greeting", "Hello there")
    kernel = instance.sh("box", "uname -sr").strip()
    assert motd(instance, "box") == ["Hello there", f"This is {kernel}."]
    assert instance.show("box")["options"]["greet"] == {"text": "Hello there"}

    instance.run("vm", "set", "box", "--greeting", "Bye")
    assert motd(instance, "box") == ["Bye", f"This is {kernel}."]

    instance.create("plain")
    assert motd(instance, "plain")[0] == "Good day"

    view = plugins(instance)["banger-greet"]
    assert (view["name"], view["version"], view["enabled"]) == ("greet", "0.1.0", True)
    assert view["hooks"] == ["contribute", "started", "changed"]

    # Without the plugin its VMs are VMs like others, and what they were told is kept.
    instance.run("daemon", "stop")
    instance.environ["BANGER_PLUGINS_DISABLED"] = "greet"
    assert not plugins(instance)["banger-greet"]["enabled"]
    assert motd(instance, "box")[0] == "Bye"
    assert instance.show("box")["options"]["greet"] == {"text": "Bye"}
    error = instance.error("vm", "set", "box", "--greeting", "Hi", code=2)
    assert "--greeting" in error


BROKEN = """
import sys
from typing import Annotated
import trio
from banger.capabilities import API_VERSION, Capability, Options, option

class Wanted(Options, frozen=True):
    wanted: Annotated[bool, option("Do the wrong thing.", "--NAME")] = False

class Found(Capability[Wanted]):
    api_version = API_VERSION
    name = "NAME"
    summary = "Breaks when it is asked to."
    options = Wanted
    deadline_s = 1.0

    async def HOOK(self, vm, options, step):
        if options.wanted:
            BODY
"""

AT_IMPORT = {
    "banger-raises": ("raises", "raise ValueError('not today')", "ValueError('not today')"),
    "banger-exits": ("exits", "import sys; sys.exit(0)", "called sys.exit(0)"),
    "banger-hangs": ("hangs", "while True: pass", "blocked the daemon for 10 s"),
    "banger-twin": ("ssh", BROKEN.replace("NAME", "ssh"), "the name 'ssh' is taken by banger"),
}
"""Distribution: name of the entry point, the module, and the reason that is shown."""

IN_A_HOOK = {
    "bad-prepare": ("prepare", "raise ValueError('oops')", "raised ValueError('oops')"),
    "bad-wait": ("prepare", "await trio.sleep_forever()", "took longer than 1 s"),
    "bad-exit": ("started", "sys.exit(3)", "called sys.exit(3)"),
}


def install(directory: Path, distribution: str, name: str, source: str) -> None:
    """As pip would: a module and its metadata."""
    module = distribution.replace("-", "_")
    (directory / f"{module}.py").write_text(source)
    info = directory / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    entry = f"[banger.capabilities]\n{name} = {module}:Found\n"
    (info / "entry_points.txt").write_text(entry)


def broken(name: str) -> str:
    hook, body, _ = IN_A_HOOK[name]
    return BROKEN.replace("NAME", name).replace("HOOK", hook).replace("BODY", body)


def test_broken_plugins_harm_nobody_else(tmp_path: Path, new_instance: NewInstance) -> None:
    for distribution, (name, source, _) in AT_IMPORT.items():
        install(tmp_path, distribution, name, source.replace("HOOK", "x").replace("BODY", "pass"))
    for name in IN_A_HOOK:
        install(tmp_path, f"banger-{name}", name, broken(name))
    instance = new_instance(PYTHONPATH=str(tmp_path))
    instance.run("daemon", "start", timeout=IMPORTING_S)

    views = plugins(instance)
    for distribution, (name, _, reason) in AT_IMPORT.items():
        assert views[distribution]["name"] == name
        assert not views[distribution]["enabled"]
        assert reason in views[distribution]["reason"]
    for name in IN_A_HOOK:
        assert views[f"banger-{name}"]["enabled"]

    for name, (hook, _, reason) in IN_A_HOOK.items():
        told = instance.run("vm", "create", "--name", "box", f"--{name}", code=5).stderr
        assert f"capability '{name}' is off from now on: its hook '{hook}' {reason}" in told
        assert instance.names() == set()
        assert instance.leased() == set()
        assert not list(instance.paths.vms.iterdir())
        view = plugins(instance)[f"banger-{name}"]
        assert not view["enabled"]
        assert reason in view["reason"]
        assert f"--{name}" in instance.error("vm", "create", f"--{name}", code=2)

    instance.create("box")
    assert instance.sh("box", "echo works") == "works\n"
    said = instance.run("doctor", code=None).stdout
    for distribution, (name, _, reason) in AT_IMPORT.items():
        (line,) = (line for line in said.splitlines() if f"'{name}' of {distribution} is" in line)
        assert line.startswith("warning") and reason in line
    # Here, for a daemon started once more would have to wait for the import again.
    instance.run("vm", "delete", "box")
