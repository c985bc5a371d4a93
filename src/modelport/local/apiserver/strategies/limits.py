"""ResourceQuotas and LimitRanges: what is wrong with them."""

from __future__ import annotations

from modelport.kube.errors import Cause, duplicate, forbidden, invalid_value, not_supported, required
from modelport.kube.part import mapping, texts
from modelport.kube.quantity import Quantity
from modelport.kube.quota import OLD_NAMES, Usage, is_compute, is_standard, parsed
from modelport.kube.resource import Object
from modelport.local.apiserver.part import part, parts
from modelport.local.apiserver.strategies.core import Plain

SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
)
OPPOSITE = (("BestEffort", "NotBestEffort"), ("NotTerminating", "Terminating"))
LIMIT_TYPES = ("Container", "PersistentVolumeClaim", "Pod")


class ResourceQuota(Plain):
    """How much of each resource a namespace may take."""

    returns_deleted = True

    def create(self, obj: Object, now: object) -> None:
        """Nothing is counted yet."""
        del now
        obj["status"] = {}

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """Names, amounts and scopes."""
        spec = part(obj, "spec")
        causes: list[Cause] = []
        for name, amount in part(spec, "hard").items():
            at = f"spec.hard[{name}]"
            if "/" not in name and not is_standard(name):
                causes.append(invalid_value(at, name, "must be a standard resource for quota"))
            causes += _check_amount(at, amount, whole=name.startswith("count/") or name in OLD_NAMES)
        scopes = texts(spec.get("scopes"))
        causes += [
            not_supported(f"spec.scopes[{index}]", scope, SCOPES)
            for index, scope in enumerate(scopes)
            if scope not in SCOPES
        ]
        causes += [
            invalid_value("spec.scopes", scopes, "conflicting scopes")
            for pair in OPPOSITE
            if set(pair) <= set(scopes)
        ]
        if scopes and any(not (is_compute(name) or name == "pods") for name in part(spec, "hard")):
            causes.append(invalid_value("spec.scopes", scopes, "unsupported scope applied to resource"))
        if "BestEffort" in scopes and any(is_compute(name) for name in part(spec, "hard")):
            causes.append(invalid_value("spec.scopes", scopes, "unsupported scope applied to resource"))
        if old is not None and set(scopes) != set(texts(part(old, "spec").get("scopes"))):
            causes.append(invalid_value("spec.scopes", scopes, "field is immutable"))
        return causes


def _check_amount(at: str, amount: object, *, whole: bool) -> list[Cause]:
    found = parsed({at: amount}).get(at)
    if found is None:
        return [invalid_value(at, amount, "must be a quantity")]
    if found < Quantity.parse(0):
        return [invalid_value(at, str(found), "must be greater than or equal to 0")]
    if whole and found.amount.denominator != 1:
        return [invalid_value(at, str(found), "must be an integer")]
    return []


class LimitRange(Plain):
    """What containers, pods and claims of a namespace ask for by default, at least and at most."""

    def default(self, obj: Object) -> None:
        """Containers are limited to the maximum by default, and ask for what they are limited to, or the minimum."""
        for limit in parts(obj, "spec", "limits"):
            if limit.get("type") != "Container":
                continue
            for field, sources in (("default", ("max",)), ("defaultRequest", ("default", "min"))):
                for source in sources:
                    filled = mapping(limit.get(source)) | mapping(limit.get(field))
                    if filled:
                        limit[field] = filled

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """Each type once, with bounds in their order."""
        del old
        causes: list[Cause] = []
        seen: set[str] = set()
        for index, limit in enumerate(parts(obj, "spec", "limits")):
            at, kind = f"spec.limits[{index}]", str(limit.get("type"))
            if kind not in LIMIT_TYPES and "/" not in kind:
                causes.append(not_supported(f"{at}.type", kind, LIMIT_TYPES))
            if kind in seen:
                causes.append(duplicate(f"{at}.type", kind))
            seen.add(kind)
            if kind == "Pod":
                causes += [
                    forbidden(f"{at}.{field}", "may not be specified when `type` is 'Pod'")
                    for field in ("default", "defaultRequest")
                    if limit.get(field)
                ]
            bounded = "storage" in {**mapping(limit.get("min")), **mapping(limit.get("max"))}
            if kind == "PersistentVolumeClaim" and not bounded:
                causes.append(
                    required(
                        f"{at}.limits",
                        "either minimum or maximum storage value is required, but neither was provided",
                    )
                )
            causes += _check_order(at, limit)
        return causes


def _check_order(at: str, limit: Object) -> list[Cause]:
    """min ≤ defaultRequest ≤ default ≤ max, where they are given."""
    causes: list[Cause] = []
    fields = ("min", "defaultRequest", "default", "max")
    said = {"min": "min", "defaultRequest": "default request", "default": "default", "max": "max"}
    amounts: dict[str, Usage] = {field: parsed(mapping(limit.get(field))) for field in fields}
    for low_index, low in enumerate(fields):
        for high in fields[low_index + 1 :]:
            for name in sorted(amounts[low].keys() & amounts[high].keys()):
                small, large = amounts[low][name], amounts[high][name]
                if small > large:
                    field = high if low == "min" and high != "max" else low
                    causes.append(
                        invalid_value(
                            f"{at}.{field}[{name}]",
                            str(amounts[field][name]),
                            f"{said[low]} value {small} is greater than {said[high]} value {large}",
                        )
                    )
    causes += [
        invalid_value(f"{at}.maxLimitRequestRatio[{name}]", str(ratio), f"ratio {ratio} is less than 1")
        for name, ratio in parsed(mapping(limit.get("maxLimitRequestRatio"))).items()
        if ratio < Quantity.parse(1)
    ]
    return causes
