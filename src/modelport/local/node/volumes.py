"""A pod's volumes as folders of this machine, and where each container finds them."""

from __future__ import annotations

import shutil
from pathlib import Path

from modelport.kube.part import mapping, objects
from modelport.kube.resource import CONFIG_MAP, SECRET, Object, Resource
from modelport.local.node import projection
from modelport.local.node.variables import Find, Missing, add_or_choose, decoded, field_of


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
                files: dict[str, tuple[bytes, int]] = {}
                for content, mode in _content(pod, volume, find, where):
                    files |= {path: (data, mode) for path, data in content.items()}
                projection.publish(own, files)
    return places


PROJECTED = ("configMap", "secret", "downwardAPI", "projected")


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
    elif kind in ("Directory", "File") and not (place.is_dir() if kind == "Directory" else place.is_file()):
        raise Missing(f"{where}: hostPath {place} is no {kind.lower()}.")
    return place


def _content(pod: Object, volume: Object, find: Find, where: str) -> list[tuple[dict[str, bytes], int]]:
    if "configMap" in volume:
        source = volume["configMap"]
        mode = source.get("defaultMode", 0o644)
        return [(_chosen(find, CONFIG_MAP, source, source.get("name", ""), where), mode)]
    if "secret" in volume:
        source = volume["secret"]
        # Files of secrets are this user's alone, whatever the default says.
        mode = source.get("defaultMode", 0o600) & 0o700
        return [(_chosen(find, SECRET, source, source.get("secretName", ""), where), mode or 0o400)]
    if "downwardAPI" in volume:
        return [(_downward(pod, volume["downwardAPI"], where), 0o644)]
    found: list[tuple[dict[str, bytes], int]] = []
    for source in objects(mapping(volume.get("projected")).get("sources")):
        if "configMap" in source:
            given = source["configMap"]
            found.append((_chosen(find, CONFIG_MAP, given, given.get("name", ""), where), 0o644))
        elif "secret" in source:
            given = source["secret"]
            found.append((_chosen(find, SECRET, given, given.get("name", ""), where), 0o600))
        elif "downwardAPI" in source:
            found.append((_downward(pod, source["downwardAPI"], where), 0o644))
    return found


def _chosen(find: Find, kind: object, source: Object, name: str, where: str) -> dict[str, bytes]:
    resource = SECRET if kind is SECRET else CONFIG_MAP
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
    return {
        one["path"]: field_of(pod, one["fieldRef"]["fieldPath"], where).encode()
        for one in objects(source.get("items"))
        if "fieldRef" in one
    }


def mounts(container: Object, places: dict[str, Path]) -> list[tuple[str, Path, bool]]:
    """Where a container sees its volumes: path in the container, place on this machine, read only. Longest first."""
    found = [
        (
            str(mount["mountPath"]).rstrip("/") or "/",
            places[mount["name"]] / mount["subPath"] if mount.get("subPath") else places[mount["name"]],
            bool(mount.get("readOnly")),
        )
        for mount in objects(container.get("volumeMounts"))
        if mount["name"] in places
    ]
    return sorted(found, key=lambda one: len(one[0]), reverse=True)


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
