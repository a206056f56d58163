"""The recipe's program on small trees: what it makes, and that it leaves nothing when it fails."""

from __future__ import annotations

import hashlib
import json
import stat
import tarfile
from pathlib import Path

import pytest
from void_samples import build, make_root, make_tar, member, pack, read_from, tool, write_script

from banger_void.guest_files import read_guest_files
from banger_void.recipe import build_program

SSHD = "usr/bin/sshd"


def test_the_program_is_there_and_may_be_run() -> None:
    assert build_program().stat().st_mode & stat.S_IXUSR


def test_an_image(tmp_path: Path, kernel_image: Path) -> None:
    tarball = pack(make_root(tmp_path / "root"), tmp_path / "t.tar.xz")
    out = kernel_image.parent / ".building-void-89abcdef"
    sha256 = hashlib.sha256(tarball.read_bytes()).hexdigest()
    done = build(out, {"rootfs_tarball": str(tarball), "rootfs_sha256": sha256.upper()}, seed=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) >= {"step: unpack", "step: make root.ext4", "step: done"}
    assert read_from(out / "work-seed.ext4", "/usermod") == "-p * -s /bin/bash root\n"
    assert {path.name for path in out.iterdir()} == {
        "root.ext4",
        "work-seed.ext4",
        "vmlinux",
        "modules.cpio",
        "build.json",
    }
    facts = json.loads((out / "build.json").read_text())
    assert (facts["distribution"], facts["kernel"]) == ("Void Linux", "6.1.0-test")
    assert facts["rootfs_sha256"] == sha256
    for name in ("vmlinux", "modules.cpio"):
        assert (out / name).read_bytes() == (kernel_image / name).read_bytes()

    disk = out / "root.ext4"
    tool("e2fsck", "-f", "-n", str(disk))
    assert read_from(disk, "/usr/lib/modules/6.1.0-test/modules.dep") == "kernel/x.ko:\n"
    for file in read_guest_files():
        assert read_from(disk, file.path) == file.data.decode()
    assert read_from(disk, "/root/usermod") == "-p * -s /bin/bash root\n"
    links = tool("debugfs", "-R", "stat /etc/runit/runsvdir/default/sshd", str(disk))
    assert '"/etc/sv/banger-sshd"' in links
    assert 'link dest: "dash"' in tool("debugfs", "-R", "stat /usr/bin/sh", str(disk))
    assert tool("debugfs", "-R", "ls -p /run", str(disk)).count("\n") <= 3


def test_a_tarball_by_its_option(tmp_path: Path, kernel_image: Path) -> None:
    """It goes before the settings, and is held to their checksum."""
    tarball = pack(make_root(tmp_path / "root"), tmp_path / "t.tar")
    out = kernel_image.parent / ".building-void-89abcdef"
    settings = {"rootfs_tarball": "/none", "rootfs_sha256": "0" * 64}
    done = build(out, settings, "--rootfs-tarball", str(tarball))
    assert done.returncode == 1 and "0000" in done.stderr
    done = build(out, {"rootfs_tarball": "/none"}, "--rootfs-tarball", str(tarball))
    assert done.returncode == 0, done.stderr
    assert (out / "root.ext4").exists() and not (out / "work-seed.ext4").exists()
    for wrong in (["--size", "1"], ["--rootfs-tarball"], ["--rootfs-tarball", ""]):
        assert build(out, {}, *wrong).returncode == 2


def test_packages_that_are_missing_are_installed(tmp_path: Path, kernel_image: Path) -> None:
    root = make_root(tmp_path / "root", without=[SSHD])
    # Brings what was asked for, as the package manager of a reachable repository would.
    install = 'echo "$@" >>/root/asked\ncase $* in *openssh) cp /bin/env /usr/sbin/sshd ;; esac'
    write_script(root / "usr/bin/xbps-install", install)
    tarball = pack(root, tmp_path / "t.tar.xz")
    settings = {"rootfs_tarball": str(tarball), "repository": "https://void.example/current"}
    out = kernel_image.parent / "out"
    done = build(out, settings)
    assert done.returncode == 0, done.stderr
    options = "--ignore-conf-repos --repository=https://void.example/current"
    assert read_from(out / "root.ext4", "/root/asked").splitlines() == [
        f"-S -y {options} -u xbps",
        f"-y {options} -u",
        f"-y {options} openssh",
    ]
    assert read_from(out / "root.ext4", "/etc/resolv.conf") == ""


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("", "lacks openssh, and xbps-install to get it with"),
        ("exit 1", "xbps-install can't update itself: is its repository reachable?"),
        ("exit 0", "still missing after the installation: openssh"),
    ],
)
def test_packages_that_can_not_be_had(
    tmp_path: Path, kernel_image: Path, script: str, complaint: str
) -> None:
    root = make_root(tmp_path / "root", without=[SSHD])
    if script:
        write_script(root / "usr/bin/xbps-install", script)
    out = kernel_image.parent / "out"
    done = build(out, {"rootfs_tarball": str(pack(root, tmp_path / "t.tar.xz"))})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        f"customize: {_said(complaint)}",
        'build: failed at step "complete the packages"',
    ]
    assert list(out.iterdir()) == []


def _said(complaint: str) -> str:
    return complaint if not complaint.startswith("lacks") else f"the root tarball {complaint}"


def test_a_hostile_tarball_leaves_nothing_here_or_there(tmp_path: Path, kernel_image: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    members = [
        member("etc/innocent", size=3),
        member("way", tarfile.SYMTYPE, linkname=str(victim)),
        member("way/out", size=3),
    ]
    tarball = make_tar(tmp_path / "t.tar", members)
    out = kernel_image.parent / "out"
    done = build(out, {"rootfs_tarball": str(tarball)})
    assert done.returncode == 1
    assert "refused, hostile: 'way/out' lies below 'way', which is no directory" in done.stderr
    assert list(out.iterdir()) == []
    assert list(victim.iterdir()) == []


def test_links_in_place_of_directories_are_not_followed(tmp_path: Path, kernel_image: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    names = "dev etc proc run sys tmp usr".split()
    members = [member(name, tarfile.DIRTYPE, mode=0o755) for name in names]
    tarball = make_tar(
        tmp_path / "t.tar", [*members, member("usr/lib", tarfile.SYMTYPE, linkname=str(victim))]
    )
    done = build(kernel_image.parent / "out", {"rootfs_tarball": str(tarball)})
    assert done.returncode == 1
    assert "/usr/lib is no directory" in done.stderr
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize(("mode", "cut"), [("w", 20_000), ("w:gz", 4), ("w:xz", 4), ("w:bz2", 4)])
def test_a_truncated_tarball(tmp_path: Path, kernel_image: Path, mode: str, cut: int) -> None:
    """Of a plain archive the padding may be missing, so more is cut there."""
    tarball = make_tar(tmp_path / "t", [member("file", size=100_000)], mode)
    tarball.write_bytes(tarball.read_bytes()[:-cut])
    done = build(kernel_image.parent / "out", {"rootfs_tarball": str(tarball)})
    assert done.returncode == 1
    assert "the root tarball is damaged or no tar archive" in done.stderr
    assert list((kernel_image.parent / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"kernel_image": "nothing"}, "there is no image 'nothing' to take the kernel from"),
        ({"kernel_image": "/nowhere/at/all"}, "/nowhere/at/all has no build.json"),
        ({"repository": "/tmp"}, "repository '/tmp' is no http(s) URL"),
        ({}, "no checksum for https://repo-default.voidlinux.org/live/"),
        ({"rootfs_url": "ftp://void.example/t"}, "only https and http are known"),
        ({"rootfs_tarball": "/nowhere/t"}, "rootfs_tarball '/nowhere/t' is no file"),
    ],
)
def test_settings_that_are_refused(
    kernel_image: Path, settings: dict[str, str], complaint: str
) -> None:
    out = kernel_image.parent / "out"
    done = build(out, settings)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert not out.exists() or list(out.iterdir()) == []
