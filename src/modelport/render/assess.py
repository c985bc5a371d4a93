"""What would become of an object that somebody declares: each field carried out, only accepted, or refused. Pure."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import msgspec

from modelport.kinds import config as configuration
from modelport.kinds import servingruntime
from modelport.kinds.catalog import KINDS, STORED_ONLY
from modelport.kinds.clusterstoragecontainer import CLUSTER_STORAGE_CONTAINER, usable
from modelport.kinds.inferenceservice import INFERENCE_SERVICE, decode
from modelport.kinds.kind import Kind
from modelport.kinds.servingruntime import CLUSTER_SERVING_RUNTIME, SERVING_RUNTIME, Runtime
from modelport.kube.errors import Cause
from modelport.kube.part import mapping, objects
from modelport.kube.resource import CONFIG_MAP, STANDARD, Object, Resource
from modelport.kube.schema import Schema, fill_defaults, prune, schema_of, validate
from modelport.render import ignored
from modelport.render.render import render
from modelport.render.rendered import Around

Answer = Literal["carried out", "not carried out", "refused"]
GIVEN_BY_SERVER = ("managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink")


class Field(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One field of an object."""

    path: str
    answer: Answer
    reason: str = ""
    hint: str = ""


class Assessment(msgspec.Struct, kw_only=True):
    """One object."""

    kind: str
    name: str
    namespace: str = ""
    fields: list[Field] = msgspec.field(default_factory=list[Field])

    def having(self, answer: Answer) -> list[Field]:
        """Those fields."""
        return [field for field in self.fields if field.answer == answer]


class _Others:
    """The other objects of the same input, and the runtimes that come with the platform."""

    def __init__(self, items: Sequence[Object]) -> None:
        self._items = items

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """One of them."""
        return next(
            (item for item in self.list(resource, namespace) if item["metadata"].get("name") == name), None
        )

    def list(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """Those of a kind."""
        return [
            item
            for item in self._items
            if (item.get("apiVersion"), item.get("kind")) == (resource.api_version, resource.kind)
            and (namespace is None or not resource.namespaced or _namespace(item) == namespace)
        ]


def assess(
    items: Sequence[Object],
    builtin: Sequence[Object],
    version: str,
    unrunnable: Callable[[Object], str | None],
) -> list[Assessment]:
    """An answer for every object, in their order. `builtin`: what a new platform holds; what is given with the same
    name counts instead. `unrunnable`: why a container cannot run on this machine."""
    given = {_key(item) for item in items}
    ours = {_key(item): item["spec"] for item in builtin if "spec" in item}
    known = [*items, *(item for item in builtin if _key(item) not in given)]
    return [
        # What every platform holds is not the reader's to mend.
        _whole(item)
        if _key(item) in ours and item.get("spec") == ours[_key(item)]
        else _one(item, _Others(known), version, unrunnable)
        for item in items
    ]


def _whole(item: Object) -> Assessment:
    """Of an object that is carried out as it is."""
    meta = mapping(item.get("metadata"))
    paths = _leaves(item.get("spec"), "spec")
    return Assessment(
        kind=str(item.get("kind", "")),
        name=str(meta.get("name", "")),
        namespace=str(meta.get("namespace") or ""),
        fields=[Field(path=path, answer="carried out") for path in paths],
    )


def _one(
    item: Object, others: _Others, version: str, unrunnable: Callable[[Object], str | None]
) -> Assessment:
    item = _newest(item)
    meta = mapping(item.get("metadata"))
    found = Assessment(
        kind=str(item.get("kind", "")),
        name=str(meta.get("name", "")),
        namespace=str(meta.get("namespace") or ""),
    )
    identity = (item.get("apiVersion"), item.get("kind"))
    declared = next((k for k in KINDS if (k.resource.api_version, k.resource.kind) == identity), None)
    standard = next((r for r in STANDARD if (r.api_version, r.kind) == identity), None)
    clean = copy.deepcopy({key: value for key, value in item.items() if key != "status"})
    clean["metadata"] = {key: value for key, value in meta.items() if key not in GIVEN_BY_SERVER}
    if declared is not None:
        if declared.resource.namespaced:
            clean["metadata"].setdefault("namespace", "default")
        _declared(found, clean, declared, others, version, unrunnable)
    elif standard is not None:
        if standard.namespaced:
            clean["metadata"].setdefault("namespace", "default")
        _standard(found, clean, standard)
    else:
        found.fields.append(_unserved(item))
    told = {field.path for field in found.fields}
    found.fields += [
        Field(path=path, answer="carried out")
        for path in _leaves(item.get("spec", item.get("data")), "spec" if "spec" in item else "data")
        if not any(_covers(one, path) for one in told)
    ]
    return found


def _newest(item: Object) -> Object:
    """The object in the version in which its kind is stored."""
    for kind in KINDS:
        for one, resource in zip(kind.older, kind.others, strict=True):
            if (resource.api_version, resource.kind) == (item.get("apiVersion"), item.get("kind")):
                return one.up(copy.deepcopy(item)) | {"apiVersion": kind.resource.api_version}
    return item


def _unserved(item: Object) -> Field:
    kind, version = str(item.get("kind", "")), str(item.get("apiVersion", ""))
    served = [r.api_version for r in (*(k.resource for k in KINDS), *STANDARD) if r.kind == kind]
    hint = (
        f"{kind} is served as {', '.join(served)}."
        if served
        else "Leave it out; KServe's models do not need it."
    )
    return Field(
        path="apiVersion" if served else "kind",
        answer="refused",
        reason=f"{version} {kind} is not served here.",
        hint=hint,
    )


def _declared(
    found: Assessment,
    item: Object,
    kind: Kind,
    others: _Others,
    version: str,
    unrunnable: Callable[[Object], str | None],
) -> None:
    pruned, unknown = prune(kind.checked, item)
    found.fields += [_unknown(kind.checked, path) for path in unknown]
    wrong = [one for one in validate(kind.checked, pruned) if one.reason == "FieldValueTypeInvalid"]
    if wrong:
        found.fields += _refused(wrong)
        return
    # Defaulting changes what it is given; the user's own words are still needed.
    complete = fill_defaults(kind.checked, kind.default(copy.deepcopy(pruned), others))
    causes = validate(kind.checked, complete)
    causes += [problem.cause() for problem in kind.validate(complete, None, others)] if not causes else []
    found.fields += _refused(causes)
    if kind.resource in STORED_ONLY:
        why = f"{kind.resource.kind} is stored and checked, but nothing runs for it yet."
        found.fields.append(Field(path="spec", answer="not carried out", reason=why))
    elif kind.resource in (SERVING_RUNTIME, CLUSTER_SERVING_RUNTIME):
        found.fields += _accepted(ignored.of_runtime(mapping(complete.get("spec"))))
        for position, container in enumerate(objects(mapping(complete.get("spec")).get("containers"))):
            found.fields += _runs(container, f"spec.containers[{position}].image", unrunnable)
    elif kind.resource == INFERENCE_SERVICE and not causes:
        found.fields += _service(complete, others, version, unrunnable, mapping(item.get("spec")))


def _service(
    item: Object, others: _Others, version: str, unrunnable: Callable[[Object], str | None], given: Object
) -> list[Field]:
    config, problems = configuration.decode(
        others.get(CONFIG_MAP, configuration.NAMESPACE, configuration.NAME)
    )
    runtimes = _runtimes(others, item["metadata"]["namespace"])
    fetchers = usable(others.list(CLUSTER_STORAGE_CONTAINER, None))
    around = Around(config=config, runtimes=runtimes, storage_containers=fetchers)
    rendered = render(decode(item), around, version)
    found = [
        Field(path=problem.field or "spec", answer="refused", reason=problem.message, hint=problem.hint)
        for problem in (*problems, *rendered.problems)
    ]
    found += _accepted(
        _as_given(
            ignored.reasons(mapping(item.get("spec")), mapping(item["metadata"].get("annotations"))), given
        )
    )
    for part in rendered.parts:
        for one in part.objects:
            if one["kind"] == "Deployment":
                for container in objects(one["spec"]["template"]["spec"]["containers"]):
                    found += _runs(container, f"spec.{part.component}", unrunnable)
    return found


def _as_given(paths: dict[str, str], given: Object) -> dict[str, str]:
    """Paths in the user's words: `sklearn` where the defaults made it `model`."""
    predictor = mapping(given.get("predictor"))
    shorthand = next(
        (name for name in predictor if name != "model" and "storageUri" in mapping(predictor[name])), ""
    )
    if "model" in predictor or not shorthand:
        return paths
    before = "spec.predictor.model."
    return {
        f"spec.predictor.{shorthand}.{path.removeprefix(before)}" if path.startswith(before) else path: why
        for path, why in paths.items()
    }


def _runtimes(others: _Others, namespace: str) -> list[Runtime]:
    found: list[Runtime] = []
    for resource, cluster in ((SERVING_RUNTIME, False), (CLUSTER_SERVING_RUNTIME, True)):
        for item in others.list(resource, None if cluster else namespace):
            try:
                found.append(servingruntime.decode(item, cluster=cluster))
            except msgspec.ValidationError:
                continue  # refused where it stands
    return found


def _standard(found: Assessment, item: Object, resource: Resource) -> None:
    schema = schema_of(resource)
    if schema is None:
        return
    pruned, unknown = prune(schema, item)
    found.fields += [_unknown(schema, path) for path in unknown]
    found.fields += _refused(validate(schema, pruned))
    if resource == CONFIG_MAP and (_namespace(item), found.name) == (
        configuration.NAMESPACE,
        configuration.NAME,
    ):
        _, problems = configuration.decode(item)
        found.fields += [
            Field(path="data", answer="refused", reason=f"{one.field}: {one.message}", hint=one.hint)
            for one in problems
        ]
        found.fields += _accepted(configuration.ignored(item))


def _refused(causes: Sequence[Cause]) -> list[Field]:
    return [Field(path=one.field or "spec", answer="refused", reason=one.message) for one in causes]


def _accepted(paths: dict[str, str]) -> list[Field]:
    return [Field(path=path, answer="not carried out", reason=why) for path, why in sorted(paths.items())]


def _runs(container: Object, where: str, unrunnable: Callable[[Object], str | None]) -> list[Field]:
    why = unrunnable(container)
    return [Field(path=where, answer="refused", reason=why)] if why else []


def _unknown(schema: Schema, path: str) -> Field:
    above, _, name = path.rpartition(".")
    node: Schema | None = schema
    for step in above.split(".") if above else []:
        plain, _, rest = step.partition("[")
        node = node.field(plain) if node is not None else None
        node = node.items if node is not None and rest else node
    known = list(node.properties) if node is not None else []
    close = [one for one in known if one.lower() == name.lower()] or difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {close[0]}?" if close else ""
    return Field(path=path, answer="refused", reason=f'unknown field "{path}"', hint=hint)


def _leaves(value: Any, path: str) -> list[str]:
    if isinstance(value, dict) and value:
        below = cast("Object", value)
        return [leaf for name, one in below.items() for leaf in _leaves(one, f"{path}.{name}")]
    if isinstance(value, list) and any(isinstance(one, dict) for one in cast("list[Any]", value)):
        return [
            leaf
            for position, one in enumerate(cast("list[Any]", value))
            for leaf in _leaves(one, f"{path}[{position}]")
        ]
    return [path] if value is not None else []


def _covers(told: str, path: str) -> bool:
    return path == told or path.startswith((f"{told}.", f"{told}["))


def _namespace(item: Object) -> str:
    return mapping(item.get("metadata")).get("namespace") or "default"


def _key(item: Object) -> tuple[str, str, str]:
    meta = mapping(item.get("metadata"))
    return str(item.get("kind")), str(meta.get("namespace") or ""), str(meta.get("name"))
