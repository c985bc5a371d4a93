"""Which runtime serves a model: KServe's order, and words where none does."""

from __future__ import annotations

import msgspec
import pytest

from modelport.kinds import builtin
from modelport.kinds.inferenceservice.spec import Model
from modelport.kinds.problem import Problem
from modelport.kinds.selection import Selection, select
from modelport.kinds.servingruntime import decode

BUILTIN = [decode(item, cluster=True) for item in builtin.runtimes("1.0")]


def model(name="sklearn", **more):
    version = more.pop("version", None)
    model_format = {"name": name} | ({"version": version} if version else {})
    return msgspec.convert({"modelFormat": model_format, **more}, Model)


def runtime(name, *, cluster=False, created="2024-01-01T00:00:00Z", **spec):
    spec = {
        "containers": [{"name": "kserve-container", "image": "x"}],
        "supportedModelFormats": [{"name": "sklearn", "version": "1", "autoSelect": True, "priority": 1}],
        "protocolVersions": ["v1", "v2"],
    } | spec
    return decode({"metadata": {"name": name, "creationTimestamp": created}, "spec": spec}, cluster=cluster)


def chosen(wanted, runtimes):
    found = select(wanted, runtimes)
    assert isinstance(found, Selection), str(found)
    return found.runtime.name, found.protocol


@pytest.mark.parametrize(
    ("name", "runtime_name"),
    [
        ("sklearn", "kserve-sklearnserver"),
        ("xgboost", "kserve-xgbserver"),
        ("lightgbm", "kserve-lgbserver"),
        ("catboost", "modelport-catboost"),
        ("onnx", "modelport-onnx"),
        ("pytorch", "modelport-pytorch"),
    ],
)
def test_built_in_runtimes_are_chosen_by_format(name, runtime_name):
    assert chosen(model(name), BUILTIN) == (runtime_name, "v1")
    assert chosen(model(name, protocolVersion="v2"), BUILTIN) == (runtime_name, "v2")


def test_the_namespaces_come_before_the_clusters():
    own, high = runtime("own"), runtime("high", cluster=True)
    high.spec.supported_model_formats[0].priority = 9
    assert chosen(model(), [high, own])[0] == "own"


def test_priority_then_protocol_then_newest_then_name():
    low = runtime("low")
    high = runtime("high")
    high.spec.supported_model_formats[0].priority = 2
    assert chosen(model(), [low, high])[0] == "high"
    new = runtime("new", created="2025-01-01T00:00:00Z")
    assert chosen(model(), [low, new])[0] == "new"
    assert chosen(model(), [runtime("b"), runtime("a")])[0] == "a"


def test_versions_are_compared_as_text():
    assert chosen(model(version="1"), BUILTIN)[0] == "kserve-sklearnserver"
    found = select(model(version="1.6"), BUILTIN)
    assert isinstance(found, Problem)
    assert "there are 1" in found.hint


def test_a_named_runtime_needs_no_auto_select():
    assert chosen(model(runtime="kserve-predictiveserver"), BUILTIN)[0] == "kserve-predictiveserver"


@pytest.mark.parametrize(
    ("wanted", "runtimes", "reason", "words"),
    [
        (
            model(runtime="none"),
            BUILTIN,
            "RuntimeNotRecognized",
            "no ServingRuntime or ClusterServingRuntime is called 'none'",
        ),
        (model(runtime="off"), [runtime("off", disabled=True)], "RuntimeDisabled", "disabled"),
        (model("onnx", runtime="a"), [runtime("a")], "NoSupportingRuntime", "does not serve onnx"),
        (model("tensorflow"), BUILTIN, "NoSupportingRuntime", "tf2onnx"),
        (model("what"), BUILTIN, "NoSupportingRuntime", "Formats that runtimes here serve"),
        (model(), [runtime("a", protocolVersions=["v2"])], "NoSupportingRuntime", "Set it to one of: v2."),
        (model(), [], "NoSupportingRuntime", "sklearn"),
    ],
)
def test_why_there_is_none(wanted, runtimes, reason, words):
    found = select(wanted, runtimes)
    assert isinstance(found, Problem)
    assert found.reason == reason
    assert words in str(found)
