"""What KServe's webhook refuses in an LLMInferenceService, in its words, with the path of each field."""

from __future__ import annotations

import re

import msgspec

from modelport.kinds.kind import Related, mismatch
from modelport.kinds.llminferenceservice.spec import (
    ConfigSpec,
    KVCache,
    LLMModel,
    LLMSpec,
    Router,
    Scaling,
    Workload,
)
from modelport.kinds.problem import Problem
from modelport.kube.resource import Object

COST = re.compile(r"\d+(\.\d+)?")
EXCLUSIVE, REQUIRED = "FieldValueForbidden", "FieldValueRequired"


def validate(obj: Object, old: Object | None, related: Related) -> list[Problem]:
    """All that is wrong with a service."""
    del related
    try:
        spec = msgspec.convert(obj.get("spec", {}), LLMSpec)
    except msgspec.ValidationError as error:
        return [mismatch(error, "llminferenceservice")]
    problems = _model(spec.model, obj["metadata"].get("name") or "")
    problems += _workload(spec, "spec")
    if spec.prefill is not None:
        problems += _workload(spec.prefill, "spec.prefill")
        problems += _same_scaling(spec, spec.prefill)
    problems += _router(spec.router) if spec.router is not None else []
    return problems + _immutable(spec, old)


def validate_config(obj: Object, old: Object | None, related: Related) -> list[Problem]:
    """All that is wrong with a shared part."""
    del old, related
    try:
        spec = msgspec.convert(obj.get("spec", {}), ConfigSpec)
    except msgspec.ValidationError as error:
        return [mismatch(error, "llminferenceserviceconfig")]
    if spec.base_refs:
        return [Problem("spec.baseRefs", "configs may not refer to configs", "Leave it out.", EXCLUSIVE)]
    return []


def _model(model: LLMModel, name: str) -> list[Problem]:
    where, problems = "spec.model.lora", list[Problem]()
    lora = model.lora
    if lora is None:
        return []
    for field, number in (
        ("maxRank", lora.max_rank),
        ("maxAdapters", lora.max_adapters),
        ("maxCpuAdapters", lora.max_cpu_adapters),
    ):
        if number is not None and number < 1:
            problems.append(Problem(f"{where}.{field}", f"{field} must be at least 1, got {number}"))
    seen: dict[str, int] = {}
    for position, adapter in enumerate(lora.adapters or []):
        at = f"{where}.adapters[{position}].name"
        if not adapter.name:
            problems.append(Problem(at, "adapter name is required", reason=REQUIRED))
        elif adapter.name in (".", ".."):
            problems.append(Problem(at, 'adapter name must not include "." or ".." (path traversal risk)'))
        elif adapter.name in seen:
            words = f"duplicate name (same as adapters[{seen[adapter.name]}])"
            problems.append(Problem(at, words, reason="FieldValueDuplicate"))
        elif adapter.name == (model.name or name):
            problems.append(Problem(at, f"adapter name must differ from base model name {adapter.name!r}"))
        if adapter.name:
            seen.setdefault(adapter.name, position)
    return problems


def _workload(work: Workload, where: str) -> list[Problem]:
    problems = _parallelism(work, where)
    if work.scaling is not None:
        if work.replicas is not None:
            problems.append(
                Problem(
                    f"{where}.scaling",
                    "scaling and replicas are mutually exclusive; use scaling for autoscaled deployments or replicas"
                    " for static deployments",
                    reason=EXCLUSIVE,
                )
            )
        problems += _scaling(work.scaling, f"{where}.scaling")
    if work.kv_cache_offloading is not None:
        problems += _kv_cache(work.kv_cache_offloading, f"{where}.kvCacheOffloading")
    strategy = work.rollout_strategy
    if strategy is not None:
        amounts = (("maxUnavailable", strategy.max_unavailable), ("maxSurge", strategy.max_surge))
        for field, amount in amounts:
            if amount is not None and not re.fullmatch(r"\d+|(\d{1,2}|100)%", str(amount)):
                words = f"must be a whole number from 0 or a percentage to 100%, got {amount!r}"
                problems.append(Problem(f"{where}.rolloutStrategy.{field}", words))
        if all(amount is not None and str(amount) in ("0", "0%") for _, amount in amounts):
            problems.append(
                Problem(
                    f"{where}.rolloutStrategy", "maxUnavailable and maxSurge cannot both be 0", "Raise one."
                )
            )
    return problems


def _parallelism(work: Workload, where: str) -> list[Problem]:
    found, problems = work.parallelism, list[Problem]()
    spread = found is not None and any(
        one is not None for one in (found.data, found.data_local, found.pipeline)
    )
    if work.worker is not None and not spread:
        problems.append(
            Problem(
                f"{where}.worker",
                "when worker is specified, parallelism must be configured for either data parallelism or pipeline"
                " parallelism",
            )
        )
    if found is None:
        return problems
    at = f"{where}.parallelism"
    if found.pipeline is not None and (found.data is not None or found.data_local is not None):
        problems.append(
            Problem(
                at,
                "cannot set both pipeline parallelism and data parallelism (data or dataLocal) simultaneously",
                reason=EXCLUSIVE,
            )
        )
    if (found.data is None) != (found.data_local is None):
        missing, there = ("dataLocal", "data") if found.data_local is None else ("data", "dataLocal")
        problems.append(
            Problem(f"{at}.{missing}", f"{missing} must be set when {there} is set", reason=REQUIRED)
        )
    for field, number in (
        ("tensor", found.tensor),
        ("pipeline", found.pipeline),
        ("data", found.data),
        ("dataLocal", found.data_local),
    ):
        if number is not None and number <= 0:
            problems.append(Problem(f"{at}.{field}", f"must be greater than 0, got {number}"))
    return problems


def _scaling(scaling: Scaling, where: str) -> list[Problem]:
    problems: list[Problem] = []
    if scaling.min_replicas is not None and scaling.min_replicas > scaling.max_replicas:
        words = f"minReplicas ({scaling.min_replicas}) cannot exceed maxReplicas ({scaling.max_replicas})"
        problems.append(Problem(f"{where}.minReplicas", words))
    if (scaling.wva is None) == (scaling.keda is None):
        both = scaling.wva is not None
        words = (
            "wva and keda are mutually exclusive; choose one scaling mechanism"
            if both
            else "either wva or keda must be specified when scaling is configured"
        )
        return [*problems, Problem(where, words, reason=EXCLUSIVE if both else REQUIRED)]
    if scaling.keda is not None:
        if not scaling.keda.triggers:
            problems.append(Problem(f"{where}.keda.triggers", "needs at least one", reason=REQUIRED))
        return problems
    wva = scaling.wva
    if wva is None:
        return problems
    if (wva.hpa is None) == (wva.keda is None):
        both = wva.hpa is not None
        words = (
            "hpa and keda are mutually exclusive; choose one actuator backend"
            if both
            else "either hpa or keda must be specified as the actuator backend"
        )
        problems.append(Problem(f"{where}.wva", words, reason=EXCLUSIVE if both else REQUIRED))
    if wva.variant_cost and not COST.fullmatch(wva.variant_cost):
        words = (
            f'variantCost must be a non-negative numeric string (e.g., "10", "0.5"), got {wva.variant_cost!r}'
        )
        problems.append(Problem(f"{where}.wva.variantCost", words))
    idle = wva.keda.idle_replica_count if wva.keda is not None else None
    if idle is not None and (scaling.min_replicas is None or idle >= scaling.min_replicas):
        words = f"needs minReplicas and must be less, got {idle}"
        problems.append(Problem(f"{where}.wva.keda.idleReplicaCount", words))
    return problems


def _same_scaling(decode: Workload, prefill: Workload) -> list[Problem]:
    def how(work: Workload) -> str:
        if work.scaling is None:
            return ""
        if work.scaling.keda is not None:
            return "keda"
        wva = work.scaling.wva
        return "wva by hpa" if wva is not None and wva.hpa is not None else "wva by keda"

    if how(decode) and how(prefill) and how(decode) != how(prefill):
        words = f"must scale as spec.scaling does ({how(decode)}), got {how(prefill)}"
        return [Problem("spec.prefill.scaling", words)]
    return []


def _kv_cache(cache: KVCache, where: str) -> list[Problem]:
    problems: list[Problem] = []
    for position, tier in enumerate(cache.secondary or []):
        at = f"{where}.secondary[{position}].fileSystem"
        files = tier.file_system
        if files is None:
            problems.append(Problem(at, "is required", reason=REQUIRED))
        elif (files.empty_dir is None) == (files.pvc is None):
            problems.append(Problem(at, "exactly one of emptyDir and pvc must be given"))
        elif files.pvc is not None and (files.pvc.spec is None) == (files.pvc.ref is None):
            problems.append(Problem(f"{at}.pvc", "exactly one of spec and ref must be given"))
    return problems


def _router(router: Router) -> list[Problem]:
    problems: list[Problem] = []
    route, at = router.route, "spec.router.route"
    if route is not None:
        http = route.http
        if http is not None and http.refs and http.spec is not None:
            words = "cannot use both custom HTTPRoute refs and an inline route spec; choose one"
            problems.append(Problem(f"{at}.http", words, reason=EXCLUSIVE))
        if http is not None and http.refs and router.gateway is not None and not router.gateway.refs:
            words = "custom HTTP routes cannot be used with a managed gateway"
            problems.append(Problem(f"{at}.http.refs", words, "Give spec.router.gateway.refs.", EXCLUSIVE))
        if (route.group is None) != (route.weight is None):
            missing, there = ("group", "weight") if route.group is None else ("weight", "group")
            problems.append(Problem(f"{at}.{missing}", f"{there} requires {missing}", reason=REQUIRED))
        if route.group is not None and (router.ingress is not None or (http is not None and http.refs)):
            words = "traffic splitting cannot be used with an ingress or custom HTTPRoute refs"
            problems.append(Problem(f"{at}.group", words, reason=EXCLUSIVE))
    scheduler, at = router.scheduler, "spec.router.scheduler"
    if scheduler is None:
        return problems
    if scheduler.replicas is not None and scheduler.replicas <= 0:
        problems.append(Problem(f"{at}.replicas", "scheduler replicas must be greater than zero"))
    config = scheduler.config
    if config is not None:
        if (config.inline is None) == (config.ref is None):
            words = (
                "either inline or ref is required"
                if config.inline is None
                else "both inline and ref are set, either specify inline or ref"
            )
            problems.append(Problem(f"{at}.config", words))
        if config.ref is not None and not config.ref.name:
            problems.append(Problem(f"{at}.config.ref.name", "name is empty", reason=REQUIRED))
    return problems


def _immutable(spec: LLMSpec, old: Object | None) -> list[Problem]:
    """The number of pods in a group cannot change: they find each other by it."""
    try:
        before = msgspec.convert((old or {}).get("spec", {}), LLMSpec)
    except msgspec.ValidationError:
        return []
    problems: list[Problem] = []
    for where, was, now in (("spec", before, spec), ("spec.prefill", before.prefill, spec.prefill)):
        if was is None or now is None or was.parallelism is None or now.parallelism is None:
            continue
        size = [(one.data, one.data_local, one.pipeline) for one in (was.parallelism, now.parallelism)]
        if size[0] != size[1]:
            words = "its total size cannot be changed"
            problems.append(
                Problem(f"{where}.parallelism", words, "Delete the service and apply it anew.", EXCLUSIVE)
            )
    return problems
