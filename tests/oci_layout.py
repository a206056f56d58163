"""Writes OCI layouts and archives like those of 'docker save', for tests."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

Entry = tuple[tarfile.TarInfo, bytes]

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def entry(name: str, content: bytes = b"", **fields: Any) -> Entry:
    """A file; with ``type`` or ``linkname`` something else. It is of whoever runs this."""
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.size = 0o644, os.getuid(), os.getgid(), len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def directory(name: str, mode: int = 0o755) -> Entry:
    return entry(name, type=tarfile.DIRTYPE, mode=mode)


def link(name: str, target: str) -> Entry:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> Entry:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def archive(*entries: Entry) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Layout:
    """A layout directory, written at once."""

    def __init__(self, path: Path, layers: list[bytes], **config: Any) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        packed = [gzip.compress(layer, 1) if n % 2 else layer for n, layer in enumerate(layers)]
        self.config = self.blob(
            {
                "architecture": ARCHITECTURE,
                "os": "linux",
                "config": config,
                "rootfs": {
                    "type": "layers",
                    "diff_ids": [f"sha256:{sha256(layer)}" for layer in layers],
                },
            }
        )
        self.layers = [self.blob(data) for data in packed]
        self.manifest = self.add_manifest(self.layers)
        self.index([self.manifest])

    def add_manifest(self, layers: list[dict[str, Any]]) -> dict[str, Any]:
        described = [{**layer, "mediaType": LAYER} for layer in layers]
        found = self.blob({"schemaVersion": 2, "config": self.config, "layers": described})
        return {**found, "mediaType": MANIFEST}

    def blob(self, data: bytes | dict[str, Any]) -> dict[str, Any]:
        content = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.blob_path(sha256(content)).write_bytes(content)
        return {"digest": f"sha256:{sha256(content)}", "size": len(content)}

    def blob_path(self, digest: str) -> Path:
        return self.path / "blobs/sha256" / digest.removeprefix("sha256:")

    def index(self, manifests: list[dict[str, Any]]) -> None:
        text = json.dumps({"schemaVersion": 2, "manifests": manifests})
        (self.path / "index.json").write_text(text)


def save(path: Path, layers: list[bytes], tags: list[str], **config: Any) -> Path:
    """An archive as 'docker save' wrote it before its version 25, its second layer a link."""
    about = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": config,
        "rootfs": {"diff_ids": [f"sha256:{sha256(layer)}" for layer in layers]},
    }
    text = json.dumps(about).encode()
    name = f"{sha256(text)}.json"
    members = [entry(name, text)]
    names = []
    for number, layer in enumerate(layers):
        names.append(f"{number}/layer.tar")
        if number and layer == layers[0]:
            members.append(link(names[-1], "../0/layer.tar"))
        else:
            members.append(entry(names[-1], layer))
    listed = [{"Config": name, "RepoTags": tags, "Layers": names}]
    path.write_bytes(archive(*members, entry("manifest.json", json.dumps(listed).encode())))
    return path
