"""An OCI image, or one that 'docker save' wrote: its layers, and what it says of its process.

Sources: the OCI image specification 1.1 (layout, index, manifest, configuration) and the
Docker image specification 1.2 (``manifest.json`` of an archive).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from typing import IO, TypeVar

import msgspec

from banger.host.archive import Source
from banger.host.oci_blobs import Blobs, read_document
from banger.kernel.errors import UsageError
from banger.kernel.wire import BAD_BYTES
from banger.model.image import ImageProcess

T = TypeVar("T")

LAYERS_MAX = 512
INDEX_DEPTH_MAX = 3
PROCESS_BYTES_MAX = 128 << 10
"""Of command line and environment together."""
REFERENCE = "org.opencontainers.image.ref.name"
_NAMES = (REFERENCE, "io.containerd.image.name")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_digest = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_variable = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*=.*", re.ASCII | re.DOTALL)


class _Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""


class _Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    digest: str
    size: int = -1
    media_type: str = ""
    annotations: dict[str, str] | None = None
    platform: _Platform | None = None

    @property
    def names(self) -> set[str]:
        annotations = self.annotations or {}
        return {annotations[key] for key in _NAMES if key in annotations}


class _Index(msgspec.Struct, frozen=True):
    manifests: list[_Descriptor]


class _Manifest(msgspec.Struct, frozen=True):
    config: _Descriptor
    layers: list[_Descriptor]


class _Process(msgspec.Struct, frozen=True):
    entrypoint: list[str] | None = msgspec.field(name="Entrypoint", default=None)
    command: list[str] | None = msgspec.field(name="Cmd", default=None)
    environment: list[str] | None = msgspec.field(name="Env", default=None)
    user: str | None = msgspec.field(name="User", default=None)
    workdir: str | None = msgspec.field(name="WorkingDir", default=None)


class _RootFs(msgspec.Struct, frozen=True):
    diff_ids: list[str]


class _Config(msgspec.Struct, frozen=True):
    rootfs: _RootFs
    architecture: str = ""
    os: str = ""
    config: _Process | None = None


class _Saved(msgspec.Struct, frozen=True, rename="pascal"):
    """An entry of the ``manifest.json`` of 'docker save'."""

    config: str
    layers: list[str]
    repo_tags: list[str] | None = None


class OciImage(msgspec.Struct, frozen=True):
    layers: list[Source]
    process: ImageProcess
    digest: str
    """Of its configuration, which names all layers: the image's id."""


def read_image(blobs: Blobs, reference: str) -> OciImage:
    """The one that is meant by ``reference``, or the only one for "".

    Raises `UsageError` for one that is not whole, not for this machine, or no image.
    """
    if read_document(blobs, "oci-layout") is not None:
        return _read_layout(blobs, reference)
    saved = read_document(blobs, "manifest.json")
    if saved is None:
        raise UsageError(
            "it has neither oci-layout nor manifest.json: no OCI layout, and no archive of "
            "'docker save' or 'podman save'",
            hint="a root file system is imported by 'banger image import tar'",
        )
    return _read_saved(blobs, _decode(saved, list[_Saved], "manifest.json"), reference)


def _read_layout(blobs: Blobs, reference: str) -> OciImage:
    data = read_document(blobs, "index.json")
    if data is None:
        raise UsageError("it has no index.json")
    found = _decode(data, _Index, "index.json").manifests
    if reference:
        found = [manifest for manifest in found if reference in manifest.names]
    chosen = _only(
        [manifest for manifest in found if _suits(manifest)],
        [name for manifest in found for name in sorted(manifest.names)],
        reference,
    )
    for _ in range(INDEX_DEPTH_MAX):
        text = _document(blobs, chosen)
        if "index" not in chosen.media_type and "manifest.list" not in chosen.media_type:
            break
        inner = [d for d in _decode(text, _Index, chosen.digest).manifests if _suits(d)]
        chosen = _only(inner, [], reference)
    manifest = _decode(text, _Manifest, chosen.digest)
    config = _decode(_document(blobs, manifest.config), _Config, manifest.config.digest)
    for layer in manifest.layers:
        if ".tar" not in layer.media_type or "nondistributable" in layer.media_type:
            raise UsageError(f"the layer {layer.digest} is of the type {layer.media_type!r}")
    layers = [(_blob_name(layer), layer.digest) for layer in manifest.layers]
    return _image(blobs, config, manifest.config.digest, layers)


def _read_saved(blobs: Blobs, saved: list[_Saved], reference: str) -> OciImage:
    if reference:
        saved = [image for image in saved if reference in (image.repo_tags or [])]
    names = [tag for image in saved for tag in image.repo_tags or []]
    chosen = _only(saved, names, reference)
    data = read_document(blobs, chosen.config)
    if data is None:
        raise UsageError(f"its configuration {chosen.config!r} is missing")
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    stated = chosen.config.rpartition("/")[2].removesuffix(".json")
    if _digest.fullmatch(f"sha256:{stated}") and digest != f"sha256:{stated}":
        raise UsageError(f"its configuration is not that of its digest {stated}")
    config = _decode(data, _Config, chosen.config)
    return _image(blobs, config, digest, [(name, "") for name in chosen.layers])


def _image(blobs: Blobs, config: _Config, digest: str, layers: list[tuple[str, str]]) -> OciImage:
    machine = _ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    if config.os not in ("", "linux") or config.architecture not in ("", machine):
        raise UsageError(
            f"it is for {config.os}/{config.architecture}, this machine is linux/{machine}"
        )
    ids = config.rootfs.diff_ids
    if len(ids) != len(layers) or not 0 < len(layers) <= LAYERS_MAX:
        raise UsageError(f"it has {len(layers)} layers, its configuration names {len(ids)}")
    if not all(_digest.fullmatch(text) for text in ids):
        raise UsageError("its configuration has a digest that is not of SHA-256")
    sources = [
        Source(f"layer {number} of {len(layers)}", _opener(blobs, name), stated, content)
        for number, ((name, stated), content) in enumerate(zip(layers, ids, strict=True), 1)
    ]
    return OciImage(sources, _process(config.config or _Process()), digest)


def _opener(blobs: Blobs, name: str) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        stream = blobs.open(name)
        if stream is None:
            raise UsageError(f"its file {name!r} is missing")
        return stream

    return opened


def _process(said: _Process) -> ImageProcess:
    texts = [*(said.entrypoint or []), *(said.command or []), *(said.environment or [])]
    user, workdir = said.user or "", said.workdir or ""
    texts += [user, workdir]
    if any("\0" in text for text in texts):
        raise UsageError("its configuration has a NUL in a text")
    if sum(len(text.encode(errors="surrogateescape")) for text in texts) > PROCESS_BYTES_MAX:
        raise UsageError(f"command and environment have more than {PROCESS_BYTES_MAX >> 10} KiB")
    variables = [text for text in said.environment or [] if _variable.fullmatch(text)]
    if workdir and (not workdir.startswith("/") or ".." in workdir.split("/")):
        raise UsageError(f"its working directory {workdir!r} is no absolute path without '..'")
    return ImageProcess(
        argv=[*(said.entrypoint or []), *(said.command or [])],
        environment=dict(text.split("=", 1) for text in variables),
        # The agent knows users; the group is the user's own.
        user=user.partition(":")[0],
        workdir=workdir,
    )


def _suits(manifest: _Descriptor) -> bool:
    platform = manifest.platform
    machine = _ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    return platform is None or (platform.os, platform.architecture) == ("linux", machine)


def _only(found: list[T], names: list[str], reference: str) -> T:
    if len(found) == 1:
        return found[0]
    what = f"no image {reference!r} for this machine" if reference else "no image for this machine"
    if found:
        what = f"{len(found)} images" + (f": {', '.join(names)}" if names else "")
    raise UsageError(f"it has {what}", hint="--ref names the one that is meant" if names else "")


def _document(blobs: Blobs, descriptor: _Descriptor) -> bytes:
    """A blob whose size and digest are what was stated."""
    data = read_document(blobs, _blob_name(descriptor))
    if data is None:
        raise UsageError(f"its blob {descriptor.digest} is missing")
    if (
        descriptor.size not in (-1, len(data))
        or f"sha256:{hashlib.sha256(data).hexdigest()}" != descriptor.digest
    ):
        raise UsageError(f"its blob {descriptor.digest} is not what its digest says")
    return data


def _blob_name(descriptor: _Descriptor) -> str:
    if not _digest.fullmatch(descriptor.digest):
        raise UsageError(f"{descriptor.digest[:80]!r} is no digest of SHA-256")
    return f"blobs/sha256/{descriptor.digest.removeprefix('sha256:')}"


def _decode(data: bytes, type: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(data, type=type)
    except BAD_BYTES as error:
        raise UsageError(f"its {name} is not valid: {error}") from None
