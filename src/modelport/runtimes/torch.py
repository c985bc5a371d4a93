"""PyTorch models that bring their own code: exported programs (`.pt2`) and TorchScript (`.pt`, `.pth`).

What `torch.save` writes is a pickle: weights without a model, or a model whose Python code is elsewhere. It is
recognised by what is in the file, never by loading it, and refused with the lines that export it.

An exported program says what it takes, so its requests are checked before they get here. TorchScript knows the
names of its tensors only: arrays reach `forward` by name, else in order, and floats take the dtype of the weights.

Both forms run on a GPU where torch sees one, unless the device is chosen. A GPU computes floats in another order
than a CPU, so that results differ in their last digits.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, cast

import numpy as np

from modelport.protocol.datatype import Array
from modelport.protocol.errors import InferenceError, InvalidInput, ServeError
from modelport.runtimes.torchfile import form_of
from modelport.server.runtime import LoadedModel, LoadError, Runtime, Settings, Unusable
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

_TENSORS: Final = ("Tensor", "Optional[Tensor]")
"""Types of arguments that a request can fill."""

_MISFIT: Final = re.compile(
    r"\b(shapes?|sizes?|dimensions?|dtype|scalar type)\b|must match|index out of|out of (bounds|range)|Guard failed",
    re.IGNORECASE,
)
"""What operators and an exported program's guards say when the tensors that came do not go together."""

_CONTEXT_LOST: Final = re.compile(r"(?:CUDA|CUDA driver|HIP) error: [^\n]*[^\n.]")
"""What torch says where a kernel failed: every later call in the process fails as well."""

_UNBOUNDED: Final = 2**31
"""A limit on rows from here on is none."""


class TorchRuntime(Runtime):
    """PyTorch on CPU or GPU: exported programs and TorchScript, told apart by what is in the file."""

    name: ClassVar[str] = "pytorch"
    extra: ClassVar[str] = "torch"
    modules: ClassVar[tuple[str, ...]] = ("numpy", "torch")
    suffixes: ClassVar[tuple[str, ...]] = (".pt2", ".pt", ".pth")

    @classmethod
    def load(cls, path: Path, settings: Settings) -> LoadedModel:
        """Loads the program at `path`. The number of threads holds for the whole process."""
        form = form_of(path)
        if not settings.allow_pickle:
            raise LoadError(
                f"{path}: a PyTorch file can run any code when it is loaded, and pickles are not allowed here. "
                f"Save the model as ONNX instead: torch.onnx.export(model, (example,), '{path.stem}.onnx')"
            )
        try:
            torch: Any = importlib.import_module("torch")
        except ModuleNotFoundError as error:
            raise LoadError(f"{path}: torch is not installed. Run: pip install 'modelport[torch]'") from error
        torch.set_num_threads(settings.threads)
        try:
            # Loaders warn of TorchScript's deprecation and read-only buffers, CUDA of a missing driver. None of it
            # helps who serves.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                device = _device(torch, settings.device)
                if form == "script":
                    module = torch.jit.load(path, map_location=device).eval()
                    return ScriptModel(torch, module, device, path, settings)
                with path.open("rb") as file:
                    program = torch.export.load(file)
                if device.type != "cpu":
                    passes: Any = importlib.import_module("torch.export.passes")
                    program = passes.move_to_device_pass(program, device)
                return ExportedModel(torch, program, device, path, settings)
        except LoadError:
            raise
        except Exception as error:
            raise LoadError(
                f"{path}: torch {torch.__version__} cannot load it: {_reason(error)} "
                "If a newer torch saved it, run: pip install --upgrade torch"
            ) from error


class _TorchModel(LoadedModel):
    """What both forms share: arrays in without a copy, whatever the module returns out by name."""

    def __init__(self, torch: Any, module: Any, device: Any) -> None:
        self._torch = torch
        self._module = module
        self._device = device

    def _call(
        self, shapes: Mapping[str, Array], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> dict[str, Array]:
        try:
            with self._torch.inference_mode():
                return dict(_named(self._module(*args, **kwargs), self._array))
        except Exception as error:
            raise self._failure(error, shapes) from error

    def _tensor(self, name: str, array: Array, datatype: str) -> Any:
        """A view of the array, which a module may write to; BF16 comes as its bits."""
        if array.dtype.kind not in "biuf":
            raise InvalidInput(
                f'inputs: input "{name}" takes numbers, got text. PyTorch has no tensors of text.'
            )
        if not array.flags.writeable or not array.flags.c_contiguous:
            array = np.array(array, order="C")
        if datatype == "BF16":
            tensor = self._torch.from_numpy(array.view(np.int16)).view(self._torch.bfloat16)
        else:
            tensor = self._torch.from_numpy(array)
        return tensor.to(self._device)

    def _array(self, value: Any) -> Array:
        """A result as an array. BF16 and narrower floats become FP32, for NumPy has no such dtype."""
        if not isinstance(value, self._torch.Tensor):
            return np.asarray(value)
        tensor: Any = value
        if tensor.layout is not self._torch.strided:
            tensor = tensor.to_dense()
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        if tensor.is_floating_point() and str(tensor.dtype) not in (
            "torch.float16",
            "torch.float32",
            "torch.float64",
        ):
            tensor = tensor.float()
        return cast("Array", tensor.detach().resolve_conj().resolve_neg().contiguous().cpu().numpy())

    def _failure(self, error: Exception, arrays: Mapping[str, Array]) -> ServeError:
        """The caller's fault where shapes or values do not fit what is computed, else the model's."""
        if isinstance(error, ServeError):
            return error
        reason = _reason(error)
        if isinstance(error, self._torch.cuda.OutOfMemoryError):
            return InferenceError(
                f"torch: {reason} Send fewer rows at once, lower --max-batch-size, or use a larger GPU."
            )
        if self._device.type == "cuda" and (lost := _CONTEXT_LOST.search(str(error))):
            return Unusable(f"torch: {lost[0]}. The process that computes is being replaced.")
        if isinstance(error, self._torch.jit.Error) or not _MISFIT.search(reason):
            return InferenceError(f"torch: {reason}")
        came = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in arrays.items())
        hint = (
            ""
            if self.signature.inputs
            else " The file does not say what it takes: save a signature beside it to have requests converted."
        )
        return InvalidInput(f"inputs: the model cannot compute with {came}: {reason.rstrip('.')}.{hint}")


class ExportedModel(_TorchModel):
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
            for name, value in _named(program.call_spec.out_spec.unflatten(results), lambda value: value)
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
                f"exported program, torch {torch.__version__} on {_spoken(torch, device)}",
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


class ScriptModel(_TorchModel):
    """A TorchScript module."""

    platform = "pytorch_torchscript"

    def __init__(self, torch: Any, module: Any, device: Any, path: Path, settings: Settings) -> None:
        super().__init__(torch, module, device)
        arguments = module.forward.schema.arguments[1:]  # without self
        for argument in arguments:
            if str(argument.type) not in _TENSORS and not argument.has_default_value():
                raise LoadError(
                    f'{path}: forward() needs "{argument.name}", a {argument.type}, which a request cannot carry. '
                    "Wrap the module in one whose forward() takes tensors only."
                )
        tensors = [argument for argument in arguments if str(argument.type) in _TENSORS]
        self._names = [argument.name for argument in tensors]
        self._required = [
            argument.name
            for argument in tensors
            if str(argument.type) == "Tensor" and not argument.has_default_value()
        ]
        self.signature = settle(Signature(), settings.signature, path)
        self._datatype = {spec.name: spec.datatype for spec in self.signature.inputs}
        floats = (t.dtype for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
        self._float = None if self.signature.inputs else next(floats, None)
        # Without a signature nobody knows whether rows are independent: one request must not change another's.
        self.batchable = bool(self.signature.inputs) and all(
            spec.shape and spec.shape[0] == -1 for spec in (*self.signature.inputs, *self.signature.outputs)
        )
        self.description = "; ".join(
            [
                f"TorchScript forward({', '.join(self._names)}), torch {torch.__version__} on {_spoken(torch, device)}",
                f"takes {summary(self.signature.inputs)}"
                if self.signature.inputs
                else "datatypes and shapes unknown, so requests are not joined (save a signature beside it)",
            ]
        )

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, object]) -> Mapping[str, Array]:
        """Calls `forward`."""
        del parameters
        kwargs: dict[str, object] = {}
        for argument, name in self._places(list(inputs)).items():
            tensor = self._tensor(name, inputs[name], self._datatype.get(name, ""))
            if self._float is not None and tensor.is_floating_point():
                tensor = tensor.to(self._float)
            kwargs[argument] = tensor
        return self._call(inputs, (), kwargs)

    def _places(self, given: list[str]) -> dict[str, str]:
        """Which input goes to which argument: the one of its name, the others to those left, in order."""
        places = {name: name for name in given if name in self._names}
        others = [name for name in given if name not in places]
        free = [name for name in self._names if name not in places]
        if len(others) > len(free):
            raise InvalidInput(
                f"inputs: the model takes {len(self._names)} ({', '.join(self._names)}), got {len(given)}."
            )
        places.update(zip(free, others, strict=False))
        if missing := [name for name in self._required if name not in places]:
            takes = ", ".join(self._names)
            raise InvalidInput(f'inputs: missing "{missing[0]}". The model takes {takes}.')
        return places


def _device(torch: Any, asked: str) -> Any:
    """The device to compute on; `auto` is the first GPU that torch sees, else the CPU. Raises LoadError."""
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(asked)
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        raise LoadError(
            f"--device {asked}: torch {torch.__version__} sees no GPU here. "
            + (
                "Look at nvidia-smi and CUDA_VISIBLE_DEVICES"
                if built
                else "It is built for CPUs: install another"
            )
            + ", or pass --device cpu."
        )
    if (device.index or 0) >= (count := torch.cuda.device_count()):
        raise LoadError(
            f"--device {asked}: torch sees {count} GPU{'' if count == 1 else 's'}, numbered from 0. "
            f"Pass --device cuda:{count - 1} or less."
        )
    return device


def _spoken(torch: Any, device: Any) -> str:
    """What the user calls it: CPU, or the GPU's own name."""
    if device.type == "cpu":
        return "CPU"
    return f"{device} ({torch.cuda.get_device_name(device)})"


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


def _named(result: Any, leaf: Callable[[Any], Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A module's result by name: a dict's keys, a named tuple's fields, else `output-0`, `output-1`, …

    What lies deeper is named by its path, such as `hidden.0`; None is left out.
    """
    if isinstance(result, Mapping):
        parts = {str(key): value for key, value in cast("Mapping[Any, Any]", result).items()}
    elif isinstance(result, tuple) and hasattr(cast("Any", result), "_fields"):
        parts = dict(zip(cast("Any", result)._fields, cast("Any", result), strict=True))
    elif isinstance(result, (tuple, list)):
        start = "" if prefix else "output-"
        parts = {f"{start}{index}": value for index, value in enumerate(cast("Sequence[Any]", result))}
    else:
        if result is not None:
            yield prefix or "output-0", leaf(result)
        return
    for name, value in parts.items():
        yield from _named(value, leaf, f"{prefix}.{name}" if prefix else name)


def _reason(error: Exception) -> str:
    """PyTorch's message without the interpreter's traceback, which names files of the machine that exported."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    line = lines[-1] if "TorchScript" in lines[0] else lines[0]
    return re.sub(r"^(?:[\w.]*(?:Error|Exception)): ", "", line)
