"""A pod's volumes as folders of this machine, and where each container finds them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from modelport.kube.part import mapping, objects
from modelport.kube.resource import CONFIG_MAP, SECRET, Object, Resource
from modelport.local.node import projection
from modelport.local.node.variables import (
    Find,
    Missing,
    add_or_choose,
    decoded,
    expand,
    field_of,
    resource_of,
)

Files = dict[str, tuple[bytes, int]]
"""Content and mode, by path below the volume."""
FILE_MODE = 0o644


def claim_folder(volumes: Path, namespace: str, claim: str) -> Path:
    """The folder that a PersistentVolumeClaim is."""
    return volumes / namespace / claim


def make(pod: Object, folder: Path, claims: Path, find: Find) -> dict[str, Path]:
    """Makes the pod's volumes below `folder`; name to place. Raises Missing, OSError."""
    places: dict[str, Path] = {}
    namespace = pod["metadata"]["namespace"]
    for volume in objects(pod["spec"].get("volumes")):
        name = volume["name"]
        own = folder / name
        where = f"volume {name!r}"
        foreign = sorted(set(volume) - {"name", *CARRIED_OUT})
        if foreign:
            raise Missing(
                f"{where}: {foreign[0]}: there is none on this machine. Use hostPath or persistentVolumeClaim, which are "
                "folders of it."
            )
        if "hostPath" in volume:
            places[name] = _host(volume["hostPath"], where)
        elif "persistentVolumeClaim" in volume:
            place = claim_folder(claims, namespace, volume["persistentVolumeClaim"]["claimName"])
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            places[name] = place
        else:
            own.mkdir(parents=True, exist_ok=True, mode=0o700)
            places[name] = own
            if is_projected(volume):
                projection.publish(own, _content(pod, volume, find, where))
    return places


PROJECTED = ("configMap", "secret", "downwardAPI", "projected")
CARRIED_OUT = (*PROJECTED, "hostPath", "persistentVolumeClaim", "emptyDir", "ephemeral")
"""Any other kind needs a cluster's drivers, and an empty folder in its place would hide that."""
HOST_TYPES: dict[str, tuple[str, Callable[[Path], bool]]] = {
    "": ("is not there", Path.exists),
    "Directory": ("is no directory", Path.is_dir),
    "File": ("is no file", Path.is_file),
    "Socket": ("is no socket", Path.is_socket),
    "CharDevice": ("is no character device", Path.is_char_device),
    "BlockDevice": ("is no block device", Path.is_block_device),
}
"""What is said of a hostPath that is not what its type says, and whether it is."""


def is_projected(volume: Object) -> bool:
    """Whether a volume's files are made from objects, and made anew when those change."""
    return any(kind in volume for kind in PROJECTED)


def sources(pod: Object) -> set[tuple[Resource, str]]:
    """The Secrets and ConfigMaps that a pod's volumes are made from."""
    found: set[tuple[Resource, str]] = set()
    for volume in objects(pod["spec"].get("volumes")):
        for source in [volume, *objects(mapping(volume.get("projected")).get("sources"))]:
            if "secret" in source:
                found.add((SECRET, source["secret"].get("secretName") or source["secret"].get("name", "")))
            if "configMap" in source:
                found.add((CONFIG_MAP, source["configMap"].get("name", "")))
    return found


def _host(source: Object, where: str) -> Path:
    place, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        place.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        place.touch(exist_ok=True)
    words, holds = HOST_TYPES.get(kind, HOST_TYPES[""])
    if not holds(place):
        raise Missing(f"{where}: hostPath {place} {words}. Make it, or correct the path.")
    return place


def _content(pod: Object, volume: Object, find: Find, where: str) -> Files:
    """The files of a volume that is made from objects. A later source wins."""
    for kind in ("configMap", "secret", "downwardAPI"):
        if kind in volume:
            return _of_source(pod, kind, volume[kind], find, where, FILE_MODE)
    files: Files = {}
    projected = mapping(volume.get("projected"))
    for source in objects(projected.get("sources")):
        for kind in ("configMap", "secret", "downwardAPI"):
            if kind in source:
                files |= _of_source(
                    pod, kind, source[kind], find, where, projected.get("defaultMode", FILE_MODE)
                )
    return files


def _of_source(pod: Object, kind: str, source: Object, find: Find, where: str, usual: int) -> Files:
    usual = source.get("defaultMode", usual)
    modes = {one["path"]: one["mode"] for one in objects(source.get("items")) if one.get("mode") is not None}
    if kind == "downwardAPI":
        content = _downward(pod, source, where)
    else:
        resource = SECRET if kind == "secret" else CONFIG_MAP
        content = _chosen(find, resource, source, source.get("secretName") or source.get("name", ""), where)
    # Files of secrets are this user's alone, whatever is asked for.
    mask = 0o700 if kind == "secret" else 0o777
    return {path: (data, modes.get(path, usual) & mask or 0o400) for path, data in content.items()}


def _chosen(find: Find, resource: Resource, source: Object, name: str, where: str) -> dict[str, bytes]:
    item = find(resource, name)
    if item is None:
        if source.get("optional"):
            return {}
        raise Missing(f"{where}: {resource.kind} {name!r} does not exist. Create it.")
    values = decoded(resource, item)
    if not source.get("items"):
        return values
    chosen: dict[str, bytes] = {}
    for one in objects(source["items"]):
        if one["key"] not in values:
            if source.get("optional"):
                continue
            raise Missing(
                f"{where}: {resource.kind} {name!r} has no key {one['key']!r}. {add_or_choose(values)}"
            )
        chosen[one["path"]] = values[one["key"]]
    return chosen


def _downward(pod: Object, source: Object, where: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for one in objects(source.get("items")):
        if "fieldRef" in one:
            found[one["path"]] = field_of(pod, one["fieldRef"]["fieldPath"], where).encode()
        elif "resourceFieldRef" in one:
            reference = one["resourceFieldRef"]
            found[one["path"]] = resource_of(pod, reference.get("containerName", ""), reference).encode()
    return found


def mounts(
    container: Object, places: dict[str, Path], variables: Mapping[str, str]
) -> list[tuple[str, Path, bool]]:
    """Where a container sees its volumes: path in the container, place on this machine, read only. Longest first.

    A folder below a volume is made where the container may write to it. Raises Missing, OSError.
    """
    found = [
        (
            str(mount["mountPath"]).rstrip("/") or "/",
            _below(places[mount["name"]], mount, variables),
            bool(mount.get("readOnly")),
        )
        for mount in objects(container.get("volumeMounts"))
        if mount["name"] in places
    ]
    return sorted(found, key=lambda one: len(one[0]), reverse=True)


def _below(place: Path, mount: Object, variables: Mapping[str, str]) -> Path:
    """What of a volume is mounted: all of it, or what is below `subPath`."""
    given = mount.get("subPath") or expand(mount.get("subPathExpr") or "", variables)
    if not given:
        return place
    found, where = place / given, f"volumeMount {mount['mountPath']}: subPath {given!r}"
    if Path(given).is_absolute() or ".." in Path(given).parts:
        raise Missing(f"{where} leads out of the volume. Name a path below it.")
    if not found.exists():
        if mount.get("readOnly") or (place / projection.DATA).is_symlink():
            raise Missing(f"{where} is not in volume {mount['name']!r}. Correct it.")
        found.mkdir(parents=True, mode=0o700)
    return found


def rewrite(text: str, mounted: list[tuple[str, Path, bool]]) -> str:
    """A text in which paths of the container become paths of this machine, as in `--model_dir=/mnt/models/x`."""
    for target, place, _ in mounted:
        for before in ("", "=", ":", ","):
            start = f"{before}{target}"
            position = 0 if not before and text.startswith(target) else text.find(start) if before else -1
            if position < 0:
                continue
            end = position + len(start)
            if end == len(text) or text[end] in "/:,":
                return text[: position + len(before)] + str(place) + text[end:]
    return text


def clear(folder: Path) -> None:
    """Removes a pod's volumes."""
    shutil.rmtree(folder, ignore_errors=True)
