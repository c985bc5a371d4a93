"""What every object carries: `metadata` and its rules, owners, and times.

child["metadata"]["ownerReferences"] = [owner_reference(isvc)]
owner = controller_of(pod)                          # {"apiVersion", "kind", "name", "uid", …} or None
causes = validate_meta(obj["metadata"], namespaced=True)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from modelport.kube.errors import Cause, forbidden, invalid_value, required, too_long
from modelport.kube.name import check_label, check_label_value, check_qualified, check_subdomain
from modelport.kube.resource import Object

ANNOTATIONS_LIMIT_BYTES = 256 * 1024
"""All annotations of an object together, keys and values."""
STANDARD_FINALIZERS = (
    "kubernetes",
    "orphan",
    "foregroundDeletion",
    "customresourcecleanup.apiextensions.k8s.io",
)

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def timestamp(moment: datetime) -> str:
    """`metav1.Time`: RFC 3339 in UTC, whole seconds, as in 2025-01-31T09:00:00Z."""
    return _in_utc(moment, "seconds")


def micro_timestamp(moment: datetime) -> str:
    """`metav1.MicroTime`, as leases and events have: with six digits after the second."""
    return _in_utc(moment, "microseconds")


def _in_utc(moment: datetime, precision: str) -> str:
    # Unlike strftime, it writes the year in four digits, whichever it is: Go's zero time is of year 1.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def parse_time(text: str) -> datetime:
    """The moment that an RFC 3339 text names, in UTC, to the microsecond. ValueError where it is none."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"must be a time as in 2025-01-31T09:00:00Z (RFC 3339), got {text!r}")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    micro = (fraction or "").ljust(6, "0")[:6]
    offset = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second}.{micro}{offset}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"must be a time as in 2025-01-31T09:00:00Z (RFC 3339), got {text!r}: {error}"
        ) from error


def owner_reference(owner: Object, controller: bool = True) -> Object:
    """What a child says of its owner: the garbage collector deletes the child after the owner.

    With `controller` the owner alone manages the child, and the owner's deletion in the foreground waits for it.
    """
    meta = owner["metadata"]
    reference: Object = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
    }
    if controller:
        reference |= {"controller": True, "blockOwnerDeletion": True}
    return reference


def owners_of(item: Object) -> list[Object]:
    """All owner references of an object."""
    return cast("list[Object]", item.get("metadata", {}).get("ownerReferences") or [])


def controller_of(item: Object) -> Object | None:
    """The reference to the one owner that manages the object, or None."""
    return next((owner for owner in owners_of(item) if owner.get("controller")), None)


def is_controlled_by(item: Object, owner: Object) -> bool:
    """Whether `owner`, that very object and not a namesake, manages `item`."""
    reference = controller_of(item)
    return reference is not None and reference.get("uid") == owner["metadata"]["uid"]


def validate_labels(labels: Any, field: str = "metadata.labels") -> list[Cause]:
    """What is wrong with a map of labels."""
    causes: list[Cause] = []
    for key, value in _items(labels):
        causes += [invalid_value(field, key, problem) for problem in check_qualified(key)]
        if isinstance(value, str):
            causes += [invalid_value(field, value, problem) for problem in check_label_value(value)]
    return causes


def validate_annotations(annotations: Any, field: str = "metadata.annotations") -> list[Cause]:
    """What is wrong with a map of annotations. Keys may have capitals in the prefix, for history's sake."""
    causes: list[Cause] = []
    size = 0
    for key, value in _items(annotations):
        causes += [invalid_value(field, key, problem) for problem in check_qualified(key.lower())]
        size += len(f"{key}{value}".encode(errors="replace"))
    if size > ANNOTATIONS_LIMIT_BYTES:
        causes.append(too_long(field, ANNOTATIONS_LIMIT_BYTES))
    return causes


def validate_owners(owners: Any, field: str = "metadata.ownerReferences") -> list[Cause]:
    """What is wrong with owner references: missing words, or two controllers."""
    causes: list[Cause] = []
    managing: list[Object] = []
    for index, listed in enumerate(_listed(owners)):
        if not isinstance(listed, dict):
            continue
        owner = cast("Object", listed)
        causes += [
            required(f"{field}[{index}].{word}", "must not be empty")
            for word in ("apiVersion", "kind", "name", "uid")
            if not owner.get(word)
        ]
        if owner.get("controller"):
            managing.append(owner)
    if len(managing) > 1:
        first, second = managing[0], managing[1]
        causes.append(
            invalid_value(
                field,
                owners,
                "Only one reference can have Controller set to true. "
                f'Found "true" in references for {first.get("kind")}/{first.get("name")} '
                f"and {second.get('kind')}/{second.get('name')}",
            )
        )
    return causes


def validate_finalizers(finalizers: Any, field: str = "metadata.finalizers") -> list[Cause]:
    """What is wrong with finalizers: each is `domain/name`, or one of Kubernetes' own."""
    causes: list[Cause] = []
    for index, finalizer in enumerate(_listed(finalizers)):
        if not isinstance(finalizer, str):
            continue
        problems = check_qualified(finalizer)
        causes += [invalid_value(f"{field}[{index}]", finalizer, problem) for problem in problems]
        if not problems and "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            causes.append(
                invalid_value(
                    f"{field}[{index}]",
                    finalizer,
                    "name is neither a standard finalizer name nor is it fully qualified",
                )
            )
    return causes


def validate_meta(
    meta: Mapping[str, Any],
    *,
    namespaced: bool,
    check_name: Callable[[str], list[str]] = check_subdomain,
    field: str = "metadata",
) -> list[Cause]:
    """What is wrong with an object's metadata. What has the wrong type is passed over: the schema tells it.

    `check_name` holds the kind's rule: `check_label` for namespaces, `check_label_1035` for services, …
    """
    causes: list[Cause] = []
    name, prefix = _text(meta.get("name")), _text(meta.get("generateName"))
    if prefix:
        # What follows the prefix is alphanumeric, so a dash at its end is fine.
        problems = check_name(prefix.removesuffix("-") + "a" if prefix.endswith("-") else prefix)
        causes += [invalid_value(f"{field}.generateName", prefix, problem) for problem in problems]
    if name:
        causes += [invalid_value(f"{field}.name", name, problem) for problem in check_name(name)]
    elif not prefix:
        causes.append(required(f"{field}.name", "name or generateName is required"))
    namespace = _text(meta.get("namespace"))
    if namespaced and namespace:
        causes += [
            invalid_value(f"{field}.namespace", namespace, problem) for problem in check_label(namespace)
        ]
    elif namespaced:
        causes.append(required(f"{field}.namespace"))
    elif namespace:
        causes.append(forbidden(f"{field}.namespace", "not allowed on this type"))
    causes += validate_labels(meta.get("labels"), f"{field}.labels")
    causes += validate_annotations(meta.get("annotations"), f"{field}.annotations")
    causes += validate_owners(meta.get("ownerReferences"), f"{field}.ownerReferences")
    causes += validate_finalizers(meta.get("finalizers"), f"{field}.finalizers")
    return causes


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _items(strings: Any) -> Iterable[tuple[str, Any]]:
    return cast("Object", strings).items() if isinstance(strings, dict) else ()
