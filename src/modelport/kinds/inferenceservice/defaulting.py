"""What KServe's webhook fills into an InferenceService. Raw JSON in and out; anything odd is left for validation."""

from __future__ import annotations

from typing import Any, cast

from modelport.kinds import config as configuration
from modelport.kinds.config import Config
from modelport.kinds.kind import Related
from modelport.kube.quantity import less
from modelport.kube.resource import CONFIG_MAP, Object

FRAMEWORKS = (
    "sklearn",
    "xgboost",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
)
V2_BY_NATURE = ("triton", "onnx", "huggingface")
MODE = "serving.kserve.io/deploymentMode"
LEGACY_MODES = {"RawDeployment": "Standard", "Serverless": "Knative"}


def default(obj: Object, related: Related) -> Object:
    """Fills in defaults: framework shorthands become `model`, custom containers get resources, and so on."""
    config, _ = configuration.decode(related.get(CONFIG_MAP, configuration.NAMESPACE, configuration.NAME))
    return fill(obj, config)


def fill(obj: Object, config: Config) -> Object:
    """The same with a configuration at hand. Idempotent."""
    _mode(obj, config)
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return obj
    components = cast("Object", spec)
    predictor = components.get("predictor")
    if isinstance(predictor, dict):
        _predictor(cast("Object", predictor), obj, config)
    for name in ("transformer", "explainer"):
        if isinstance(components.get(name), dict):
            _custom(cast("Object", components[name]), config)
    if not config.security.auto_mount_service_account_token:
        for name in ("predictor", "transformer", "explainer"):
            component = components.get(name)
            if isinstance(component, dict):
                cast("Object", component).setdefault("automountServiceAccountToken", False)
    for canary in _objects(components.get("canary")):
        if isinstance(canary.get("predictor"), dict):
            _framework(canary["predictor"])
    return obj


def _mode(obj: Object, config: Config) -> None:
    meta = obj["metadata"]
    annotations = meta.get("annotations")
    if annotations is not None and not isinstance(annotations, dict):
        return
    kept = cast("Object", annotations or {})
    given = kept.get(MODE)
    if given in LEGACY_MODES:
        kept[MODE] = LEGACY_MODES[given]
    mode = LEGACY_MODES.get(config.deploy.default_deployment_mode, config.deploy.default_deployment_mode)
    if given is None and mode in ("Standard", "ModelMesh"):
        meta["annotations"] = kept | {MODE: mode}


def _predictor(predictor: Object, obj: Object, config: Config) -> None:
    _framework(predictor)
    model = predictor.get("model")
    if not isinstance(model, dict):
        _custom(predictor, config)
        return
    model_format = cast("Object", model).get("modelFormat")
    name = cast("Object", model_format).get("name") if isinstance(model_format, dict) else None
    if name in ("triton", "vLLM"):
        cast("Object", model).setdefault("protocolVersion", "v2")
    annotations = obj["metadata"].get("annotations")
    if isinstance(name, str) and (annotations is None or isinstance(annotations, dict)):
        obj["metadata"]["annotations"] = {"modelFormat": name} | cast("Object", annotations or {})


def _framework(predictor: Object) -> None:
    """`sklearn: {…}` becomes `model: {modelFormat: {name: sklearn}, …}`; it wins over a `model` that a former
    defaulting left, for client-side apply sends the shorthand again."""
    named = [name for name in FRAMEWORKS if isinstance(predictor.get(name), dict)]
    if len(named) != 1:
        return
    (name,) = named
    given = dict(cast("Object", predictor.pop(name)))
    former = predictor.get("model")
    if isinstance(former, dict) and cast("Object", former).get("modelFormat", {}).get("name") not in (
        None,
        name,
    ):
        predictor[name] = given  # two frameworks: validation says so
        return
    if name in V2_BY_NATURE:
        given.setdefault("protocolVersion", "v2")
    version: Object = cast("Object", former).get("modelFormat", {}) if isinstance(former, dict) else {}
    predictor["model"] = {"modelFormat": {"name": name} | version} | given


def _custom(component: Object, config: Config) -> None:
    """Containers of one's own get the configured resources where they name none."""
    resource = config.inference_service.resource
    for container in _objects(component.get("containers")):
        resources = container.setdefault("resources", {})
        if not isinstance(resources, dict):
            continue
        given = cast("Object", resources)
        asked, most = given.setdefault("requests", {}), given.setdefault("limits", {})
        if not (isinstance(asked, dict) and isinstance(most, dict)):
            continue
        for name, request, limit in (
            ("cpu", resource.cpu_request, resource.cpu_limit),
            ("memory", resource.memory_request, resource.memory_limit),
        ):
            _amounts(name, cast("Object", asked), cast("Object", most), request, limit)


def _amounts(name: str, asked: Object, most: Object, request: str, limit: str) -> None:
    """What the user leaves out follows the configuration, but never contradicts what the user wrote: a limit below
    the configured request would else be refused with a number that nobody has written."""
    if request and name not in asked:
        asked[name] = most[name] if less(most.get(name), request) else request
    if limit and name not in most:
        most[name] = asked[name] if less(limit, asked.get(name)) else limit


def _objects(value: Any) -> list[Object]:
    if not isinstance(value, list):
        return []
    return [cast("Object", item) for item in cast("list[Any]", value) if isinstance(item, dict)]
