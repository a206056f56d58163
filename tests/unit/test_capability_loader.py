"""Installed plugins, good and broken, found by real entry points in a directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

GOOD = """
from typing import Annotated
from banger.capabilities import API_VERSION, Capability, Options, option
class Greet(Options, frozen=True):
    greeting: Annotated[str, option("What to say.", "--greeting")] = ""
class Found(Capability[Greet]):
    api_version = API_VERSION
    name = "greet"
    summary = "Greets."
    options = Greet
"""

SCRIPT = """
import sys
from banger.capabilities import guard
from banger.capabilities.loader import find_capabilities
guard.STALL_S = 0.5
with guard.alarm_clock(0.5):
    found = find_capabilities(turned_off=sys.argv[1:], own_flags=["--memory"])
for item in found:
    print(item.name, item.distribution, "ok" if item.found else item.reason, sep="|")
"""


def install(site: Path, distribution: str, source: str, *entries: str) -> None:
    """As pip would: a module and its metadata."""
    module = distribution.replace("-", "_")
    (site / f"{module}.py").write_text(source)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = "".join(f"{entry} = {module}:Found\n" for entry in entries)
    (info / "entry_points.txt").write_text(f"[banger.capabilities]\n{lines}")


def found(site: Path, *turned_off: str) -> dict[str, str]:
    """Reason by ``name distribution``, "ok" for those in use; banger's own left out."""
    environ = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(site / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *turned_off],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    rows = [line.split("|") for line in done.stdout.splitlines()]
    own = [name for name, whose, state in rows if whose == "banger" and state == "ok"]
    assert {"guest", "network", "ssh"} <= set(own)
    return {
        f"{name} {distribution}": state for name, distribution, state in rows if name not in own
    }


def test_a_good_one(tmp_path: Path) -> None:
    install(tmp_path, "banger-greet", GOOD, "greet")
    assert found(tmp_path)["greet banger-greet"] == "ok"
    off = found(tmp_path, "greet")
    assert off["greet banger-greet"] == "turned off by the setting plugins.disabled"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("Found = 1 / 0", "ZeroDivisionError"),
        ("import sys; sys.exit(0)", "called sys.exit(0)"),
        ("while True: pass", "blocked the daemon"),
        ("import time; time.sleep(99)", "blocked the daemon"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("Found = 3", "3 is no Capability"),
        ("class Found: pass", "is no Capability"),
        (GOOD.replace("API_VERSION\n    name", "99\n    name"), "written for version 99"),
        (GOOD.replace('name = "greet"', 'name = "other"'), "the capability 'other'"),
        (GOOD.replace('summary = "Greets."', ""), "has no 'summary'"),
        (GOOD.replace(' = ""', ""), "has no default"),
        (GOOD.replace("Annotated[str,", "Annotated[int | str,"), "its declarations: ValueError"),
        (GOOD.replace("Annotated[str,", "Annotated[Nowhere,"), "Nowhere"),
        (GOOD.replace(' = ""', " = 5"), "its declarations: ValidationError"),
        (GOOD.replace('"--greeting"', '"greeting"'), "'greeting' is no flag"),
        (GOOD.replace('"--greeting"', "metavar=5"), "its declarations: ValidationError"),
        (GOOD + '    after = "nat"\n', "'after' is 'nat', not a tuple of names"),
        (GOOD + "    after = None\n", "'after' is None"),
    ],
)
def test_a_broken_one_says_why_and_harms_no_other(tmp_path: Path, source: str, reason: str) -> None:
    install(tmp_path, "banger-broken", source, "greet")
    install(tmp_path, "banger-fine", GOOD.replace("greet", "fine"), "fine")
    states = found(tmp_path)
    assert reason in states["greet banger-broken"]
    assert states["fine banger-fine"] == "ok"


def test_a_taken_name(tmp_path: Path) -> None:
    install(tmp_path, "banger-one", GOOD, "greet")
    install(tmp_path, "banger-two", GOOD, "greet")
    install(tmp_path, "banger-three", GOOD.replace('"greet"', '"ssh"'), "ssh")
    states = found(tmp_path)
    assert states["greet banger-one"] == "the name 'greet' is taken by banger-two"
    assert states["greet banger-two"] == "the name 'greet' is taken by banger-one"


@pytest.mark.parametrize(
    ("flag", "by"), [("--isolated", "capability 'network'"), ("--memory", "banger itself")]
)
def test_a_taken_flag(tmp_path: Path, flag: str, by: str) -> None:
    install(tmp_path, "banger-greet", GOOD.replace("--greeting", flag), "greet")
    assert found(tmp_path)["greet banger-greet"] == f"its flag {flag} is taken by {by}"


def test_a_circle(tmp_path: Path) -> None:
    for name, after in (("a", "b"), ("b", "a")):
        source = GOOD.replace('"greet"', f'"{name}"').replace('"--greeting"', f'"--{name}-x"')
        install(tmp_path, f"banger-{name}", f'{source}    after = ("{after}",)\n', name)
    states = found(tmp_path)
    assert states["a banger-a"] == "'after' goes in a circle: a, b"
    assert states["b banger-b"] == "'after' goes in a circle: a, b"


def test_the_interface_without_a_daemon(tmp_path: Path) -> None:
    install(tmp_path, "banger-greet", GOOD, "greet")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "c")}
    done = subprocess.run(
        [sys.executable, "-m", "banger.daemon", "--interface"],
        env=environ,
        capture_output=True,
        check=True,
        timeout=60,
    )
    options = msgspec.json.decode(done.stdout)["options"]
    assert ["greet", "greeting"] in [[row["capability"], row["field"]] for row in options]
