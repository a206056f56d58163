"""Where things are, and directories that must be ours alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from banger.host.paths import Paths, make_private
from banger.host.places import SOCKET_PATH_LIMIT, Places, check_socket_path
from banger.kernel.errors import HostNotReady


def test_root_has_the_systems_places() -> None:
    assert Paths.of({"HOME": "/root"}, 0) == Paths(
        config=Path("/etc/banger"),
        state=Path("/var/lib/banger"),
        cache=Path("/var/cache/banger"),
        runtime=Path("/run/banger"),
    )


def test_a_user_has_places_of_ones_own() -> None:
    paths = Paths.of({"HOME": "/home/u"}, 64321)
    assert paths.config == Path("/home/u/.config/banger")
    assert paths.state == Path("/home/u/.local/state/banger")
    assert paths.cache == Path("/home/u/.cache/banger")
    assert paths.runtime.name == "banger"
    assert "64321" in str(paths.runtime)


@pytest.mark.parametrize("uid", [0, 1000])
def test_variables_decide(uid: int) -> None:
    environ = {
        f"XDG_{kind}": f"/{kind.lower()}"
        for kind in ("CONFIG_HOME", "STATE_HOME", "CACHE_HOME", "RUNTIME_DIR")
    }
    assert Paths.of({"HOME": "/h", **environ}, uid) == Paths(
        config=Path("/config_home/banger"),
        state=Path("/state_home/banger"),
        cache=Path("/cache_home/banger"),
        runtime=Path("/runtime_dir/banger"),
    )


@pytest.mark.parametrize("value", ["", "relative", "./x", "~/x"])
def test_variables_that_are_no_absolute_path_are_passed_over(value: str) -> None:
    """So the XDG specification has it."""
    assert Paths.of({"HOME": "/h", "XDG_STATE_HOME": value}, 0) == Paths.of({"HOME": "/h"}, 0)


def test_everything_lies_below_them() -> None:
    paths = Paths(Path("/c"), Path("/s"), Path("/k"), Path("/r"))
    assert paths.config_file.parent == Path("/c")
    assert {paths.socket.parent, paths.lock.parent, paths.vm_runtime.parent} == {Path("/r")}
    for path in (paths.vms, paths.daemon_log, paths.event_log, paths.identity):
        assert path.is_relative_to("/s")
    assert paths.images.is_relative_to("/k")


def test_as_text_they_are_the_same() -> None:
    environ = {"HOME": "/home/u", "XDG_RUNTIME_DIR": "/r/"}
    places, paths = Places.of(environ, 1000), Paths.of(environ, 1000)
    assert (places.socket, places.daemon_log) == (str(paths.socket), str(paths.daemon_log))
    assert places.socket == "/r/banger/bangerd.sock"


def test_private_directory_is_made_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    make_private(path)
    assert path.stat().st_mode & 0o777 == 0o700
    path.chmod(0o777)
    make_private(path)
    assert path.stat().st_mode & 0o777 == 0o700
    make_private(path, 0o750)
    assert path.stat().st_mode & 0o777 == 0o750


def test_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    places = ["link", "dangling", "file", "file/below"]
    if os.geteuid() == 0:
        other = tmp_path / "others"
        other.mkdir()
        os.chown(other, 12345, 12345)
        places.append("others")
    for place in places:
        with pytest.raises(HostNotReady, match=place):
            make_private(tmp_path / place)
    assert target.stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "nowhere").exists()


def test_socket_paths_have_a_limit() -> None:
    longest = Path("/" + "ü" * (SOCKET_PATH_LIMIT // 2))
    assert len(os.fsencode(longest)) == SOCKET_PATH_LIMIT
    assert check_socket_path(longest) == str(longest)
    with pytest.raises(HostNotReady, match="XDG_RUNTIME_DIR"):
        check_socket_path(Path(f"{longest}x"))
