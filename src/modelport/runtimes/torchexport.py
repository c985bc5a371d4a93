"""Programs of `torch.export` (`.pt2`). They say what they take, so their requests are checked before they get here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from modelport.protocol.datatype import Array
from modelport.runtimes.torchmodule import TorchModel, named, spoken
from modelport.server.runtime import LoadError, Settings
from modelport.server.signature import Signature, TensorSpec
from modelport.server.tensors import settle, summary

_DATATYPE: Final = {
    "torch.bool": "BOOL",
    "torch.float16": "FP16",
    "torch.bfloat16": "BF16",
    "torch.float32": "FP32",
    "torch.float64": "FP64",
    **{
        f"torch.{sign}int{bits}": f"{sign}int{bits}".upper() for sign in ("", "u") for bits in (8, 16, 32, 64)
    },
}

_UNBOUNDED: Final = 2**31
"""A limit on rows from here on is none."""


class ExportedModel(TorchModel):
    """A program of `torch.export`."""

    platform = "pytorch_export"

    def __init__(self, torch: Any, program: Any, device: Any, path: Path, settings: Settings) -> None:
        super().__init__(torch, program.module(), device)
        known = {node.name: node.meta.get("val") for node in program.graph.nodes}
        self._leaves = [
            _Input(leaf)
            if isinstance(leaf, str) and isinstance(known.get(leaf), torch.Tensor)
            else _Fixed(leaf)
            for leaf in program.graph_signature.user_inputs
        ]
        self._unflatten = program.call_spec.in_spec.unflatten
        inputs = {leaf.name: known[leaf.name] for leaf in self._leaves if isinstance(leaf, _Input)}
        results = [
            known.get(name) if isinstance(name, str) else name
            for name in program.graph_signature.user_outputs
        ]
        outputs = {
            name: value
            for name, value in named(program.call_spec.out_spec.unflatten(results), lambda value: value)
            if isinstance(value, torch.Tensor)
        }
        own = Signature(
            inputs=tuple(_spec(path, name, value) for name, value in inputs.items()),
            outputs=tuple(
                TensorSpec(spec.name, "FP32" if spec.datatype == "BF16" else spec.datatype, spec.shape)
                for spec in (_spec(path, name, value) for name, value in outputs.items())
            ),
        )
        self.signature = settle(own, settings.signature, path)
        self._datatype = {spec.name: spec.datatype for spec in self.signature.inputs}
        obstacle = _batch_obstacle({**inputs, **outputs}, program.range_constraints)
        self.batchable = obstacle is None
        self.description = "; ".join(
            [
                f"exported program, torch {torch.__version__} on {spoken(torch, device)}",
                f"takes {summary(self.signature.inputs)}",
                f"gives {summary(self.signature.outputs)}",
                *([f"requests are not joined: {obstacle}"] if obstacle else []),
            ]
        )

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, object]) -> Mapping[str, Array]:
        """Runs the program."""
        del parameters
        leaves = [
            self._tensor(leaf.name, inputs[leaf.name], self._datatype[leaf.name])
            if isinstance(leaf, _Input)
            else leaf.value
            for leaf in self._leaves
        ]
        args, kwargs = self._unflatten(leaves)
        return self._call(inputs, args, kwargs)


class _Input(NamedTuple):
    """A place in the call that a request fills."""

    name: str


class _Fixed(NamedTuple):
    """A place in the call whose value was settled at export."""

    value: object


def _spec(path: Path, name: str, value: Any) -> TensorSpec:
    if datatype := _DATATYPE.get(str(value.dtype)):
        return TensorSpec(
            name, datatype, tuple(axis if isinstance(axis, int) else -1 for axis in value.shape)
        )
    raise LoadError(f'{path}: "{name}" is a tensor of {value.dtype}, which the protocol has no datatype for.')


def _batch_obstacle(tensors: Mapping[str, Any], limits: Mapping[Any, Any]) -> str | None:
    """Why requests must not be joined along the first axis, or None: it must be open, and the same for all."""
    axes: set[str] = set()
    for name, tensor in tensors.items():
        if not tensor.shape:
            return f"{name} has no axis for rows"
        if isinstance(first := tensor.shape[0], int):
            rows = f"{first} row{'' if first == 1 else 's'}"
            return (
                f"{name} has {rows}; export with dynamic_shapes=({{0: torch.export.Dim('rows')}},) to open it"
            )
        axes.add(str(first))
    if len(axes) > 1:
        return f"first axes differ ({', '.join(sorted(axes))})"
    for symbol, bounds in limits.items():
        most = str(bounds.upper)
        if str(symbol) in axes and most.isdecimal() and int(most) < _UNBOUNDED:
            return f"exported for at most {most} rows"
    return None
