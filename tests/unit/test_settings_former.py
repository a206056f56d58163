"""Settings by the names they had before; the agent they choose."""

from __future__ import annotations

from pathlib import Path

import pytest

from banger.host import assets
from banger.kernel.errors import HostNotReady, UsageError
from banger.settings import load_settings


@pytest.mark.parametrize("former", ["vsock_ping_helper", "banger-vsock-pingd"])
def test_in_the_file(tmp_path: Path, former: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'{former} = "/old"\n')
    settings = load_settings(path, {})
    assert settings.text("guest.agent") == "/old"
    (remark,) = settings.remarks
    assert remark == f"{path}: {former!r} is now called 'guest.agent'"


def test_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    environ = {"BANGER_VSOCK_PING_HELPER": "/environment"}
    settings = load_settings(path, environ)
    assert settings.text("guest.agent") == "/environment"
    assert "BANGER_VSOCK_PING_HELPER" in settings.remarks[0]
    settings = load_settings(path, environ, {"banger-vsock-pingd": "/flag"})
    assert settings.text("guest.agent") == "/flag"
    assert len(settings.remarks) == 1


def test_the_new_name_wins(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('vsock_ping_helper = "/old"\n[guest]\nagent = "/new"\n')
    settings = load_settings(path, {})
    assert settings.text("guest.agent") == "/new"
    assert len(settings.remarks) == 1
    assert load_settings(path, {"BANGER_GUEST_AGENT": "/newer"}).text("guest.agent") == "/newer"


def test_a_value_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("vsock_ping_helper = 5\n")
    with pytest.raises(UsageError, match=r"guest\.agent: 5 is not a text"):
        load_settings(path, {})
    path.write_text('vsock_pong_helper = "x"\n')
    with pytest.raises(UsageError, match="outside of a"):
        load_settings(path, {})


def test_nothing_is_remarked_without_need(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "config.toml", {}).remarks == ()


def test_the_agent_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "_chosen", [])
    monkeypatch.setattr(assets, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(assets, "_RUNTIME", tmp_path / "runtime")
    with pytest.raises(HostNotReady, match="not built"):
        assets.agent_binary()
    bundled = tmp_path / "runtime/banger-agent"
    built = tmp_path / "guest-agent/build/banger-agent"
    for path in (bundled, built):
        path.parent.mkdir(parents=True)
        path.touch()
        assert assets.agent_binary() == path
    own = tmp_path / "own"
    assets.choose_agent(own)
    with pytest.raises(HostNotReady, match=r"guest\.agent"):
        assets.agent_binary()
    own.touch()
    assert assets.agent_binary() == own
    assets.choose_agent(None)
    assert assets.agent_binary() == built
