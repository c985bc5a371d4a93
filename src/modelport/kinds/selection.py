"""Which runtime serves a model: KServe's rules, purely.

Named: the namespace's first, then the cluster's. Otherwise: those that serve the format (and version) and protocol by
themselves, the namespace's before the cluster's, by priority, then by lowest protocol, newest, name. A protocol that is
not named counts as v1.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from modelport.kinds.inferenceservice.spec import Model
from modelport.kinds.problem import Problem
from modelport.kinds.servingruntime import Runtime

PROTOCOLS = ("v1", "v2", "grpc-v1", "grpc-v2")

ELSEWHERE = {
    "tensorflow": "TensorFlow's runtime is not part of this platform yet; convert the model to ONNX (tf2onnx), or run"
    " your own server as a custom container.",
    "triton": "Triton is not part of this platform; an ONNX or PyTorch file can be served by its own format.",
    "huggingface": "Hugging Face models are not part of this platform yet; run your own server as a custom container.",
    "vLLM": "vLLM is not part of this platform yet; run it as a custom container.",
    "pmml": "PMML's runtime is not part of this platform yet.",
    "paddle": "Paddle's runtime is not part of this platform yet; convert the model to ONNX (paddle2onnx).",
    "autogluon": "AutoGluon's runtime is not part of this platform yet; run your own server as a custom container.",
}
"""What to do about formats of KServe's that nothing here serves."""


class Selection(msgspec.Struct, frozen=True):
    """The runtime, and the protocol that the model then speaks."""

    runtime: Runtime
    protocol: str


def select(model: Model, runtimes: Sequence[Runtime], *, workers: bool = False) -> Selection | Problem:
    """The runtime for a model. A Problem has KServe's reason: RuntimeNotRecognized, RuntimeDisabled, NoSupportingRuntime."""
    return _named(model, runtimes) if model.runtime else _chosen(model, runtimes, workers=workers)


def _named(model: Model, runtimes: Sequence[Runtime]) -> Selection | Problem:
    where = "spec.predictor.model.runtime"
    found = sorted((r for r in runtimes if r.name == model.runtime), key=lambda r: r.cluster)
    if not found:
        names = ", ".join(sorted({r.name for r in runtimes})) or "none"
        return Problem(
            where,
            f"no ServingRuntime or ClusterServingRuntime is called {model.runtime!r}.",
            f"Waiting for it to become available. There are: {names}.",
            "RuntimeNotRecognized",
        )
    runtime = found[0]
    if runtime.spec.disabled:
        return Problem(where, f"runtime {runtime.name} is disabled.", "Choose another.", "RuntimeDisabled")
    if not any(_serves(one.name, one.version, model) for one in runtime.spec.supported_model_formats or []):
        return Problem(
            where,
            f"runtime {runtime.name} does not serve {_format(model)}.",
            f"It serves {_formats([runtime])}.",
            "NoSupportingRuntime",
        )
    offered = runtime.spec.protocol_versions or []
    if model.protocol_version and offered and model.protocol_version not in offered:
        return _no_protocol(model, [runtime])
    return Selection(runtime, _protocol(model, runtime))


def _chosen(model: Model, runtimes: Sequence[Runtime], *, workers: bool) -> Selection | Problem:
    serving = [
        runtime
        for runtime in runtimes
        if not runtime.spec.disabled
        and not runtime.spec.multi_model
        and (runtime.spec.worker_spec is not None) == workers
        and any(
            one.auto_select and _serves(one.name, one.version, model)
            for one in runtime.spec.supported_model_formats or []
        )
    ]
    wanted = model.protocol_version or "v1"
    fitting = [r for r in serving if wanted in (r.spec.protocol_versions or [wanted])]
    if not fitting:
        return _no_protocol(model, serving) if serving else _no_format(model, runtimes)
    fitting.sort(key=lambda r: r.name)
    fitting.sort(key=lambda r: r.created, reverse=True)
    fitting.sort(key=lambda r: (r.cluster, -_priority(r, model), _lowest(r)))
    return Selection(fitting[0], _protocol(model, fitting[0]))


def _serves(name: str, version: str | None, model: Model) -> bool:
    wanted = model.model_format
    return name == wanted.name and (wanted.version is None or wanted.version == version)


def _priority(runtime: Runtime, model: Model) -> int:
    """Of the first entry with that name, whatever its version; none comes last."""
    for one in runtime.spec.supported_model_formats or []:
        if one.name == model.model_format.name:
            return one.priority or 0
    return 0


def _lowest(runtime: Runtime) -> int:
    offered = [PROTOCOLS.index(p) for p in runtime.spec.protocol_versions or [] if p in PROTOCOLS]
    return min(offered, default=len(PROTOCOLS))


def _protocol(model: Model, runtime: Runtime) -> str:
    if model.protocol_version:
        return model.protocol_version
    lowest = _lowest(runtime)
    return PROTOCOLS[lowest] if lowest < len(PROTOCOLS) else "v1"


def _format(model: Model) -> str:
    version = model.model_format.version
    return f"{model.model_format.name} {version}" if version else model.model_format.name


def _formats(runtimes: Sequence[Runtime]) -> str:
    names = {
        f"{one.name} {one.version}" if one.version else one.name
        for runtime in runtimes
        for one in runtime.spec.supported_model_formats or []
    }
    return ", ".join(sorted(names)) or "nothing"


def _no_format(model: Model, runtimes: Sequence[Runtime]) -> Problem:
    usable = [r for r in runtimes if not r.spec.disabled]
    same = {
        one.version
        for runtime in usable
        for one in runtime.spec.supported_model_formats or []
        if one.name == model.model_format.name and one.version
    }
    hint = ELSEWHERE.get(model.model_format.name, f"Formats that runtimes here serve: {_formats(usable)}.")
    if model.model_format.version and same:
        hint = (
            f"Versions are compared as text; there are {', '.join(sorted(same))}. Or leave the version out."
        )
    return Problem(
        "spec.predictor.model.modelFormat",
        f"no runtime found to support predictor with model type {_format(model)}.",
        hint,
        "NoSupportingRuntime",
    )


def _no_protocol(model: Model, serving: Sequence[Runtime]) -> Problem:
    offered = sorted({p for runtime in serving for p in runtime.spec.protocol_versions or []})
    asked = model.protocol_version or "v1 (the default)"
    return Problem(
        "spec.predictor.model.protocolVersion",
        f"no runtime serves {_format(model)} by protocol {asked}.",
        f"Set it to one of: {', '.join(offered)}.",
        "NoSupportingRuntime",
    )
