"""Values that are wrong, odd or malicious, on the command line."""

from __future__ import annotations

import pytest

from tests.vm.instance import Instance

BAD_NAMES = [
    "",
    "A",
    "Box",
    "a.b",
    "../x",
    "a/b",
    "/etc/passwd",
    "-x",
    "x-",
    "a_b",
    "a b",
    "a\n",
    "a\nb",
    "ä",
    "x" * 64,
    "\x1b[31m",
    "a;reboot",
    "$(id)",
    ".",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_bad_names(instance: Instance, name: str) -> None:
    before = instance.names()
    message = instance.error("vm", "create", f"--name={name}", "--no-start", code=2)
    assert "is not a legal VM name" in message
    assert "\x1b" not in message
    assert "is not a legal VM name" in instance.error("vm", "show", "--", name, code=2)
    assert instance.names() == before


def test_a_name_that_is_every_machine_s_own(instance: Instance) -> None:
    message = instance.error("vm", "create", "localhost", "--no-start", code=2)
    assert "can't be called 'localhost'" in message
    assert "localhost" not in instance.names()


@pytest.mark.parametrize("name", ["a", "0", "x" * 63, "a--b", "debian"])
def test_odd_but_legal_names(instance: Instance, name: str) -> None:
    instance.create(name, "--no-start")
    assert name in instance.names()
    instance.run("vm", "delete", name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--memory", "0"), "--memory 0 is not within"),
        (("--memory", "-5"), "is not within"),
        (("--memory", "1"), "is not within"),
        (("--memory", "99999999999999999999"), "is not within"),
        (("--memory", "1G"), "1G"),
        (("--vcpus", "0"), "is not within"),
        (("--vcpus", "65"), "is not within"),
        (("--vcpus", "two"), "two"),
        (("--disk", "lots"), "is not a size"),
        (("--disk", "-1G"), "is not a size"),
        (("--disk", "1"), "is not within"),
        (("--disk", "1M"), "is not within"),
        (("--disk", "9999999999T"), "is not within"),
        (("--disk", "17T"), "is not within"),
        (("--disk", "1G"), "is smaller than image 'debian'"),
        (("--image", "../../etc"), "is not a legal image name"),
        (("--image", "Debian"), "is not a legal image name"),
        (("--nonsense",), "--nonsense"),
        (("one", "two"), "two"),
        (("one", "--name", "two"), "two names were given"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_options(instance: Instance, options: tuple[str, ...], said: str) -> None:
    before = instance.names()
    assert said in instance.error("vm", "create", "--no-start", *options, code=2)
    assert instance.names() == before


def test_no_such_image(instance: Instance) -> None:
    message = instance.error("vm", "create", "--name", "x", "--image", "gentoo", code=3)
    assert "there is no image 'gentoo'" in message
    assert "banger image" in message


def test_no_such_command(instance: Instance) -> None:
    assert "did you mean 'create'?" in instance.error("vm", "craete", code=2)
    assert "there is no command 'frobnicate'" in instance.error("frobnicate", code=2)
    instance.error("vm", "exec", code=2)


def test_a_name_that_is_nearly_right(instance: Instance) -> None:
    instance.create("seldom-heard", "--no-start")
    message = instance.error("vm", "show", "seldom-herd", code=3)
    assert "did you mean seldom-heard" in message
    instance.run("vm", "delete", "seldom-heard")


def test_a_bad_setting_names_its_place(instance: Instance) -> None:
    done = instance.run("config", "show", code=0)
    assert done.returncode == 0
    instance.paths.config.mkdir(exist_ok=True)
    instance.paths.config_file.write_text("[vm]\nmemory_mib = 'much'\n")
    try:
        message = instance.error("config", "show", code=2)
    finally:
        instance.paths.config_file.unlink()
        instance.paths.config.rmdir()
    assert "setting vm.memory_mib" in message
    assert str(instance.paths.config_file) in message
