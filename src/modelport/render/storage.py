"""Models into pods: an init container that fetches, or a claim that is mounted, as KServe's injector does it."""

from __future__ import annotations

import json
from posixpath import commonpath

from modelport.kinds.config import Config
from modelport.kinds.inferenceservice.spec import Component, InferenceService, Model, StorageUri
from modelport.kinds.problem import Problem
from modelport.kube.part import objects
from modelport.kube.resource import Object
from modelport.render import storage_container
from modelport.render.pod import MODEL, TRANSFORMER, set_env
from modelport.render.rendered import Around

INITIALIZER, VOLUME = "storage-initializer", "kserve-provision-location"
IMAGE = "modelport/storage-initializer"
MOUNT = "/mnt/models"
READ_ONLY = "storage.kserve.io/readonly"
SETTINGS = frozenset(
    [
        "STORAGE_ALLOW_PATTERNS",
        "STORAGE_IGNORE_PATTERNS",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_ENDPOINT",
        "MODELSCOPE_API_TOKEN",
        "MODELSCOPE_ENDPOINT",
        "MLFLOW_TRACKING_URI",
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "STORAGE_EMULATOR_HOST",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    ]
)
"""What a model's `env` says of its fetching; the rest of it concerns the server."""


def uris_of(component: Component, model: Model | None) -> list[StorageUri]:
    """The models of a component, each with its folder."""
    if model is not None and model.storage_uri:
        return [StorageUri(uri=model.storage_uri, mount_path=MOUNT)]
    if model is not None and model.storage is not None:
        storage = model.storage
        kind = (storage.parameters or {}).get("type", "<scheme-placeholder>")
        return [StorageUri(uri=f"{kind}://{(storage.path or '').lstrip('/')}", mount_path=MOUNT)]
    return [
        StorageUri(uri=one.uri, mount_path=one.mount_path or MOUNT) for one in component.storage_uris or []
    ]


def legacy_uri(pod: Object) -> str | None:
    """A custom container's env STORAGE_URI: KServe fetches it and tells the container the folder."""
    for each in objects(pod.get("containers", [])):
        if each.get("name") != MODEL:
            continue
        for variable in objects(each.get("env", [])):
            if variable.get("name") == "STORAGE_URI" and variable.get("value"):
                found = str(variable["value"])
                variable["value"] = MOUNT
                return found
    return None


def add(
    pod: Object,
    service: InferenceService,
    component: Component,
    model: Model | None,
    uris: list[StorageUri],
    around: Around,
    version: str,
) -> list[Problem]:
    """Puts models into a pod."""
    writable = service.metadata.annotations.get(READ_ONLY, "").lower() == "false"
    fetched: list[StorageUri] = []
    for number, one in enumerate(uris):
        if not one.uri.startswith("pvc://"):
            fetched.append(one)
            continue
        claim, _, path = one.uri.removeprefix("pvc://").partition("/")
        if not claim:
            return [Problem("storageUri", f"{one.uri!r} names no claim.", "It is pvc://CLAIM/PATH.")]
        volume = f"kserve-pvc-source-{number}" if number else "kserve-pvc-source"
        _volume(
            pod, {"name": volume, "persistentVolumeClaim": {"claimName": claim, "readOnly": not writable}}
        )
        mount: Object = {"name": volume, "mountPath": one.mount_path, "readOnly": not writable}
        _mount(pod, mount | ({"subPath": path.strip("/")} if path.strip("/") else {}))
    if not fetched:
        return []
    chosen = storage_container.choose(
        [one.uri for one in fetched], component.storage_container_name, around.storage_containers
    )
    if isinstance(chosen, Problem):
        return [chosen]
    init = _initializer(pod, service, model, fetched, around.config, version, writable=writable)
    if chosen is not None:
        init = storage_container.merged(init, chosen)
    pod["initContainers"] = [*pod.get("initContainers", []), init]
    return []


def _initializer(
    pod: Object,
    service: InferenceService,
    model: Model | None,
    uris: list[StorageUri],
    config: Config,
    version: str,
    *,
    writable: bool,
) -> Object:
    paths = [one.mount_path or MOUNT for one in uris]
    parent = paths[0] if len(paths) == 1 else commonpath(paths)
    init: Object = {
        "name": INITIALIZER,
        "image": f"{IMAGE}:{version}",
        "imagePullPolicy": "IfNotPresent",
        "args": [text for one, path in zip(uris, paths, strict=True) for text in (one.uri, path)],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {
            "requests": {"cpu": "100m", "memory": "100Mi"},
            "limits": {"cpu": "1", "memory": "1Gi"},
        },
        "volumeMounts": [{"name": VOLUME, "mountPath": parent}],
    }
    storage = model.storage if model is not None else None
    if storage is not None:
        secret = config.credentials.storage_spec_secret_name
        kind = (storage.parameters or {}).get("type")
        # The key that is there is not known here: the initializer tries them in KServe's order.
        keys = [storage.key] if storage.key else [*([f"default_{kind}"] if kind else []), "default"]
        variables: list[Object] = [
            {"name": "STORAGE_CONFIG_SECRET", "value": secret},
            {"name": "STORAGE_CONFIG_KEYS", "value": ",".join(keys)},
        ]
        if len(keys) == 1:
            reference = {"name": secret, "key": keys[0]}
            variables.append({"name": "STORAGE_CONFIG", "valueFrom": {"secretKeyRef": reference}})
        if storage.parameters:
            overrides = json.dumps(storage.parameters, sort_keys=True)
            variables.append({"name": "STORAGE_OVERRIDE_CONFIG", "value": overrides})
        init["env"] = variables
    settings = [
        one for each in _served(pod) for one in objects(each.get("env", [])) if one.get("name") in SETTINGS
    ]
    if settings:
        init["env"] = [*init.get("env", []), *({one["name"]: one for one in settings}.values())]
    named = service.metadata.annotations.get(config.credentials.storage_secret_name_annotation)
    if named:
        set_env(init, "STORAGE_SECRET_NAME", named)
    _volume(pod, {"name": VOLUME, "emptyDir": {}})
    _mount(pod, {"name": VOLUME, "mountPath": parent, "readOnly": not writable})
    return init


def _volume(pod: Object, volume: Object) -> None:
    pod["volumes"] = [*pod.get("volumes", []), volume]


def _mount(pod: Object, mount: Object) -> None:
    """Into the container that serves the model, and a transformer beside it."""
    for each in _served(pod):
        each["volumeMounts"] = [*each.get("volumeMounts", []), mount]


def _served(pod: Object) -> list[Object]:
    return [each for each in objects(pod.get("containers", [])) if each.get("name") in (MODEL, TRANSFORMER)]
