"""LLMInferenceService v1alpha1 and its Config, as KServe converts them: the models' `criticality`, which v1alpha2 has no
field for, is kept in annotations, and a pool is written in its older form.

`up` and `down` may change what they are given, and leave alone what is of another type than it should be.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object

MODEL_CRITICALITY = "internal.serving.kserve.io/model-criticality"
LORA_CRITICALITIES = "internal.serving.kserve.io/lora-criticalities"
_CRITICALITY: Object = {
    "type": "string",
    "description": "How much it matters that requests are answered when there are more than can be: Critical, or Sheddable.",
}


def schema(newer: Object) -> Object:
    """The schema of this version, from that of v1alpha2."""
    found: Object = msgspec.json.decode(msgspec.json.encode(newer))
    model = found["properties"]["spec"]["properties"]["model"]
    # A config's model is left open: it takes any field as it is.
    if "properties" in model:
        adapter = model["properties"]["lora"]["properties"]["adapters"]["items"]
        for place in (model, adapter):
            place["properties"]["criticality"] = dict(_CRITICALITY)
    return found


def up(obj: Object) -> Object:
    """As v1alpha2."""
    model = mapping(mapping(obj.get("spec")).get("model"))
    notes: dict[str, str] = {}
    criticality = model.pop("criticality", None)
    if criticality:
        notes[MODEL_CRITICALITY] = str(criticality)
    adapters = {
        str(index): str(found)
        for index, adapter in enumerate(objects(mapping(model.get("lora")).get("adapters")))
        if (found := adapter.pop("criticality", None))
    }
    if adapters:
        notes[LORA_CRITICALITIES] = msgspec.json.encode(adapters).decode()
    if notes:
        meta: Object = obj.setdefault("metadata", {})
        meta["annotations"] = mapping(meta.get("annotations")) | notes
    _convert_pool(obj, _pool_up)
    return obj


def down(obj: Object) -> Object:
    """From v1alpha2."""
    meta = mapping(obj.get("metadata"))
    notes = mapping(meta.get("annotations"))
    model = mapping(mapping(obj.get("spec")).get("model"))
    criticality = notes.pop(MODEL_CRITICALITY, None)
    if criticality and model:
        model["criticality"] = criticality
    kept = _listed(notes.pop(LORA_CRITICALITIES, None))
    for index, adapter in enumerate(objects(mapping(model.get("lora")).get("adapters"))):
        if str(index) in kept:
            adapter["criticality"] = kept[str(index)]
    if "annotations" in meta and not notes:
        del meta["annotations"]
    _convert_pool(obj, _pool_down)
    return obj


def _listed(text: Any) -> dict[str, str]:
    try:
        return msgspec.json.decode(str(text or "{}"), type=dict[str, str])
    except msgspec.DecodeError:  # somebody else wrote it
        return {}


def _convert_pool(obj: Object, convert: Any) -> None:
    scheduler = mapping(mapping(mapping(obj.get("spec")).get("router")).get("scheduler"))
    pool = mapping(scheduler.get("pool"))
    if isinstance(pool.get("spec"), dict):
        pool["spec"] = convert(cast("Object", pool["spec"]))


def _pool_up(spec: Object) -> Object:
    """The pool's v1: several ports, a selector with matchLabels, and the picker under its new name."""
    found = dict(spec)
    if "targetPortNumber" in found:
        found["targetPorts"] = [{"number": found.pop("targetPortNumber")}]
    selector = found.get("selector")
    if isinstance(selector, dict) and "matchLabels" not in selector:
        found["selector"] = {"matchLabels": selector}
    if "extensionRef" in found:
        picker = dict(mapping(found.pop("extensionRef")))
        if "portNumber" in picker:
            picker["port"] = {"number": picker.pop("portNumber")}
        found["endpointPickerRef"] = picker
    return found


def _pool_down(spec: Object) -> Object:
    """The pool's v1alpha2. It has one port: a pool of several stays as it is."""
    found = dict(spec)
    ports = objects(found.get("targetPorts"))
    if len(ports) == 1 and "number" in ports[0]:
        found["targetPortNumber"] = ports[0]["number"]
        del found["targetPorts"]
    labels = mapping(found.get("selector")).get("matchLabels")
    if isinstance(labels, dict):
        found["selector"] = labels
    if "endpointPickerRef" in found:
        picker = dict(mapping(found.pop("endpointPickerRef")))
        port = mapping(picker.pop("port", None)).get("number")
        if port is not None:
            picker["portNumber"] = port
        found["extensionRef"] = picker
    return found
