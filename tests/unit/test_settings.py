"""Settings: where they come from, who wins, and errors that name their place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from banger.kernel.errors import UsageError
from banger.model.settings import SETTINGS, Setting
from banger.settings import FILE_LIMIT_BYTES, load_settings

BY_KEY = {setting.key: setting for setting in SETTINGS}
PLUGIN = Setting("capabilities.greet.loud", False, "Whether to shout.")


def write(directory: Path, text: str | bytes) -> Path:
    path = directory / "config.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def error(
    path: Path, environ: dict[str, str] | None = None, flags: dict[str, object] | None = None
) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_settings(path, environ or {}, flags)
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_table_is_sound() -> None:
    assert len(BY_KEY) == len(SETTINGS)
    for setting in SETTINGS:
        assert setting.check(setting.default) == setting.default
        assert setting.check(str(setting.default)) == setting.default
        assert setting.help.endswith(".")
        assert setting.key.count(".") == 1
        assert setting.variable.startswith("BANGER_")


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "[vm]\n"])
def test_defaults(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "config.toml" if text is None else write(tmp_path, text)
    settings = load_settings(path, {"HOME": "/", "BANGER_UNRELATED": "x"})
    assert settings.origins.keys() == BY_KEY.keys()
    assert {origin.origin for origin in settings.origins.values()} == {"default"}
    assert settings.text("vm.image") == "debian"
    assert settings.number("vm.vcpus") == 1


def test_later_places_win(tmp_path: Path) -> None:
    path = write(tmp_path, '[vm]\nimage = "file"\nvcpus = 2\nmemory_mib = 1111\n')
    environ = {"BANGER_VM_IMAGE": "env", "BANGER_VM_VCPUS": "3"}
    settings = load_settings(path, environ, {"vm.image": "flag"})
    assert (settings.text("vm.image"), settings.origins["vm.image"].origin) == ("flag", "--set")
    assert settings.number("vm.vcpus") == 3
    assert settings.origins["vm.vcpus"].origin == "BANGER_VM_VCPUS"
    assert settings.number("vm.memory_mib") == 1111
    assert settings.origins["vm.memory_mib"].origin == str(path)
    assert settings.origins["vm.disk"].origin == "default"


def test_numbers_as_text_are_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, '[vm]\nvcpus = "4"\n')
    assert load_settings(path, {}).number("vm.vcpus") == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[vm]\nvcpu = 1\n", "no setting 'vm.vcpu'"),
        ("[nothing]\nx = 1\n", "no setting 'nothing.x'"),
        ("[vm.sub]\nx = 1\n", "no setting 'vm.sub'"),
        ("vcpus = 1\n", "'vcpus' stands outside of a [section]"),
        ("[[vm]]\nvcpus = 1\n", "'vm' stands outside of a [section]"),
        ("[vm]\nvcpus = true\n", "vm.vcpus: True is not a number"),
        ("[vm]\nvcpus = 1.0\n", "vm.vcpus: 1.0 is not a number"),
        ("[vm]\nvcpus = 'many'\n", "vm.vcpus: 'many' is not a number"),
        ("[vm]\nvcpus = 0\n", "vm.vcpus: 0 is less than 1"),
        ("[vm]\nvcpus = -5\n", "vm.vcpus: -5 is less than 1"),
        ("[vm]\nimage = 5\n", "vm.image: 5 is not a text"),
        ("[vm]\nimage = ['a']\n", "vm.image: ['a'] is not a text"),
        ("[vm]\nimage = 2024-01-01\n", "is not a text"),
        ("[qemu]\naccelerator = 'hvf'\n", "'hvf' is not one of auto, kvm, tcg"),
        ("[vm]\nvcpus = 1\nvcpus = 2\n", "can't be read"),
        ("[vm\n", "can't be read"),
        ("vm:\n  vcpus: 1\n", "can't be read"),
        (b"\xff\xfe\0", "can't be read"),
        (b"[vm]\nimage = '\xff'\n", "can't be read"),
        ("a = " + "[" * 100_000, "can't be read"),
        ("[vm]\nvcpus = " + "9" * 5000, "can't be read"),
        ("#" * (FILE_LIMIT_BYTES + 1), "is larger than"),
    ],
)
def test_errors_in_the_file_name_it(text: str | bytes, said: str, tmp_path: Path) -> None:
    found = error(write(tmp_path, text))
    assert said in found.message
    assert str(tmp_path / "config.toml") in found.message


def test_places_that_are_no_file(tmp_path: Path) -> None:
    assert str(tmp_path) in error(tmp_path).message
    path = write(tmp_path, "")
    # Below a file there is nothing, so there are no settings in it either.
    assert load_settings(path / "config.toml", {}).number("vm.vcpus") == 1
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert load_settings(loop, {}).number("vm.vcpus") == 1


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Not root for a while: root may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_file_that_may_not_be_read(unprivileged: None) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = write(Path(directory), "")
        path.chmod(0)
        assert "can't be read" in error(path).message
        path.parent.chmod(0)
        try:
            assert "can't be read" in error(path).message
        finally:
            path.parent.chmod(0o700)


@pytest.mark.parametrize(
    ("value", "said"),
    [("", "'' is not a number"), ("two", "'two' is not a number"), ("0", "0 is less than 1")],
)
def test_errors_in_the_environment_name_the_variable(value: str, said: str, tmp_path: Path) -> None:
    found = error(tmp_path / "none", {"BANGER_VM_VCPUS": value})
    assert found.message.startswith("BANGER_VM_VCPUS: ")
    assert said in found.message
    assert found.hint == BY_KEY["vm.vcpus"].help


def test_errors_in_flags() -> None:
    assert error(Path("/none"), flags={"vm.x": 1}).message.startswith("--set: there is no setting")
    assert error(Path("/none"), flags={"vm.vcpus": None}).message.startswith(
        "--set: setting vm.vcpus"
    )


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("'yes'", True), ("false", False), ("'off'", False)]
)
def test_a_plugins_setting(text: str, value: bool, tmp_path: Path) -> None:
    path = write(tmp_path, f"[capabilities.greet]\nloud = {text}\n")
    assert load_settings(path, {}, plugins=[PLUGIN]).flag("capabilities.greet.loud") is value
    # Before the plugins are known their sections are passed over.
    assert PLUGIN.key not in load_settings(path, {}).origins


def test_settings_of_a_plugin_that_is_off_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, "[capabilities.other]\nloud = 1\n[capabilities.greet]\nloud = true\n")
    settings = load_settings(path, {}, plugins=[PLUGIN])
    assert settings.flag(PLUGIN.key)
    assert "capabilities.other.loud" not in settings.origins


def test_a_plugins_setting_by_the_environment(tmp_path: Path) -> None:
    environ = {"BANGER_CAPABILITIES_GREET_LOUD": "on"}
    settings = load_settings(tmp_path / "config.toml", environ, plugins=[PLUGIN])
    assert settings.flag(PLUGIN.key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[capabilities.greet]\nloud = 3\n", "3 is not true or false"),
        ("[capabilities.greet]\nquiet = 1\n", "no setting 'capabilities.greet.quiet'"),
    ],
)
def test_a_plugins_setting_that_does_not_fit(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        load_settings(write(tmp_path, text), {}, plugins=[PLUGIN])
