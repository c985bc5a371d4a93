"""`oci://registry/repository:tag`: artifacts, and images with a model below /models (modelcars).

`oci+native://` and `oci+fetch://` say how a cluster's node should do it; here all three are pulled.
"""

from __future__ import annotations

import os
import platform
import re
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from modelport.kube.part import mapping, objects
from modelport.storage import archive, registry
from modelport.storage.failure import StorageError
from modelport.storage.ranged import reader
from modelport.storage.registry import Registry
from modelport.storage.scheme.s3 import certificates
from modelport.storage.source import Context, Found, Listing, RemoteFile
from modelport.storage.transport import Transport
from modelport.storage.transport import of as transport_of
from modelport.storage.uri import safe_path

ROOT = "models/"
"""Where an image holds its model."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
TITLES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
UNPACK = "io.deis.oras.content.unpack"
IMAGE_LAYERS = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
    "application/vnd.oci.image.layer.nondistributable.",
)


def resolve(uri: str, context: Context) -> Found:
    """Asks for the manifest: one request, two for an image of several platforms."""
    reference = registry.parse(uri.partition("://")[2])
    transport = transport_of(context, ca_data=certificates(context.credentials))
    store = Registry(reference, context.credentials, transport)
    manifest = store.manifest(reference.what)
    if "manifests" in manifest:
        manifest = store.manifest(_platform(objects(manifest["manifests"])))
    layers = objects(manifest.get("layers") or manifest.get("blobs"))
    origin = f"{reference.host}/{reference.repository}"
    common: dict[str, Any] = {"origin": origin, "credential": store.credential, "unpack": False}
    if layers and all(_is_image(layer) for layer in layers):
        files = tuple(_file(store, transport, f"{place:04}", layer) for place, layer in enumerate(layers))
        return Listing(files=files, assemble=partial(_image, context), **common)
    files = tuple(_file(store, transport, _title(layer, place), layer) for place, layer in enumerate(layers))
    packed = {file.path for file, layer in zip(files, layers, strict=True) if _is_packed(layer)}
    if packed:
        return Listing(files=files, assemble=partial(_artifact, context, packed), **common)
    return Listing(files=files, **common)


def _file(store: Registry, transport: Transport, name: str, layer: dict[str, Any]) -> RemoteFile:
    digest = str(layer["digest"])
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise StorageError(
            "verify",
            f"the layer {digest[:100]!r} has no SHA-256, by which it could be verified",
            "Push it with sha256",
            reason="Unsupported",
        )
    return RemoteFile(
        name,
        reader(
            transport,
            f"{store.base}/blobs/{digest}",
            secret_headers=store.headers,
            credential=store.credential,
            name=digest,
            told=store.words,
            renew=store.renew,
        ),
        size=layer.get("size"),
        version=digest,
        sha256=digest.partition(":")[2],
    )


def _platform(manifests: list[dict[str, Any]]) -> str:
    """The manifest for this machine. Attestations are for no machine."""
    machine = platform.machine()
    architecture = ARCHITECTURES.get(machine, machine)
    real = [one for one in manifests if one.get("platform", {}).get("os") != "unknown"]
    for one in real:
        place = one.get("platform", {})
        if place.get("architecture") == architecture and place.get("os") == "linux":
            return str(one["digest"])
    if len(real) == 1 and not real[0].get("platform"):
        return str(real[0]["digest"])
    there = ", ".join(
        f"{place.get('os')}/{place.get('architecture')}" for one in real if (place := one.get("platform", {}))
    )
    raise StorageError(
        "resolve",
        f"the image has no manifest for linux/{architecture}; it has {there or 'none'}",
        "Build it for this platform as well, or name a manifest by digest",
        reason="NotFound",
    )


def _is_image(layer: dict[str, Any]) -> bool:
    """A layer of a file system, and not an artifact's file in a layer's clothes."""
    annotations = mapping(layer.get("annotations"))
    titled = any(title in annotations for title in TITLES)
    return str(layer.get("mediaType", "")).startswith(IMAGE_LAYERS) and not titled


def _is_packed(layer: dict[str, Any]) -> bool:
    annotations = mapping(layer.get("annotations"))
    kind = str(layer.get("mediaType", ""))
    return annotations.get(UNPACK) == "true" or (
        kind.startswith("application/vnd.cncf.model.") and ".tar" in kind
    )


def _title(layer: dict[str, Any], place: int) -> str:
    annotations = mapping(layer.get("annotations"))
    for title in TITLES:
        if annotations.get(title):
            return safe_path(str(annotations[title]))
    ending = ".gguf" if "gguf" in str(layer.get("mediaType", "")) else ""
    return f"blob-{place}{ending}" if place or not ending else "model.gguf"


def _image(context: Context, folder: Path, files: dict[str, Path]) -> None:
    """What lies below /models in an image's layers, one over the other."""
    budget = archive.Budget(
        context.limits, sum(path.stat().st_size for path in files.values()), context.cancel
    )
    writer = archive.Writer(folder, budget)
    seen: set[str] = set()

    def rename(name: str) -> str | None:
        path = str(PurePosixPath("/") / name)[1:] if ".." not in name.split("/") else name.lstrip("/")
        seen.add(path.partition("/")[0])
        if not path.startswith(ROOT):
            return None
        inside = path[len(ROOT) :]
        parent, _, last = inside.rpartition("/")
        if last == ".wh..wh..opq":
            writer.remove(parent or ".", children=True)
            return None
        if last.startswith(".wh."):
            writer.remove(f"{parent}/{last[4:]}" if parent else last[4:])
            return None
        return inside

    def retarget(path: str, target: str) -> str:
        if not target.startswith(f"/{ROOT}"):
            return target
        return os.path.relpath(target[len(ROOT) + 1 :], PurePosixPath(path).parent)

    for name in sorted(files):
        with archive.telling(f"layer {name}"), files[name].open("rb") as file:
            archive.untar(file, writer, rename, retarget)
    writer.finish()
    if not any(folder.iterdir()):
        there = ", ".join(sorted(filter(None, seen))[:10]) or "nothing"
        raise StorageError(
            "unpack",
            f"the image has no folder /models; it has {there}",
            "Put the model there: COPY model /models",
            reason="NotFound",
        )


def _artifact(context: Context, packed: set[str], folder: Path, files: dict[str, Path]) -> None:
    """An artifact's files, and its folders, which travel as tar files."""
    budget = archive.Budget(
        context.limits, sum(path.stat().st_size for path in files.values()), context.cancel
    )
    writer = archive.Writer(folder, budget)
    for name, path in sorted(files.items()):
        with archive.telling(name), path.open("rb") as file:
            if name in packed:
                archive.untar(file, writer)
            else:
                writer.file(name, file)
    writer.finish()
