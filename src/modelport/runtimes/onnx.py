"""ONNX models, by ONNX Runtime.

The graph says what it takes, so every request is checked before it gets here. What is left to this file: text,
BF16, and the lists of maps that skl2onnx's ZipMap gives for probabilities, none of which fit a NumPy array.
"""

from __future__ import annotations

import ctypes
import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from modelport.protocol.datatype import Array, bf16_to_fp32
from modelport.protocol.errors import InferenceError, InvalidInput, ServeError
from modelport.runtimes.beginning import beginning, pointer
from modelport.server.runtime import LoadedModel, LoadError, Runtime, Settings
from modelport.server.signature import Signature, TensorSpec
from modelport.server.tensors import columns_of_maps, settle, summary

_DATATYPE = {
    "float": "FP32",
    "double": "FP64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "bool": "BOOL",
    "string": "BYTES",
    **{f"{sign}int{bits}": f"{sign}int{bits}".upper() for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "CPUExecutionProvider")
"""In the order of preference. TensorRT is left out: it may compile for minutes, and is not ours to choose."""

_BFLOAT16 = 16
"""`TensorProto.BFLOAT16`."""

_MISFIT = re.compile(
    r"dimension mismatch|mismatched dim|cannot be reshaped|axis dimensions|incompatible dimensions|"
    r"attempting to broadcast|must match|out of (data )?bounds|out of range|inclusive range",
    re.IGNORECASE,
)
"""What kernels say when axes or indices that the graph leaves open do not go together."""


class OnnxRuntime(Runtime):
    """ONNX Runtime, from `.onnx` files, with external data files beside them."""

    name: ClassVar[str] = "onnx"
    extra: ClassVar[str] = "onnx"
    modules: ClassVar[tuple[str, ...]] = ("numpy", "onnxruntime")
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    @classmethod
    def load(cls, path: Path, settings: Settings) -> LoadedModel:
        """Loads the graph at `path`, on a GPU where this onnxruntime can use one."""
        try:
            ort: Any = importlib.import_module("onnxruntime")
        except ModuleNotFoundError as error:
            raise LoadError(
                f"{path}: onnxruntime is not installed. Run: pip install 'modelport[onnx]'"
            ) from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors reach us as exceptions; they need no second line on stderr
        available: list[str] = ort.get_available_providers()
        wanted = _providers(path, settings.device, available)
        try:
            session = ort.InferenceSession(str(path), options, providers=wanted)
        except Exception as error:  # its exceptions have no base class of their own
            raise _unloadable(path, error, ort.__version__) from error
        return OnnxModel(
            session,
            path,
            settings,
            unused=[provider for provider, _ in wanted if provider not in session.get_providers()],
        )


def _providers(path: Path, device: str, available: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Execution providers in the order of preference, each with its options. Raises LoadError."""
    kind, _, index = device.partition(":")
    usable = _PROVIDERS[-1:] if kind == "cpu" else _PROVIDERS
    found = [provider for provider in usable if provider in available]
    if kind == "cuda" and found[0] == _PROVIDERS[-1]:
        raise LoadError(
            f"{path}: --device {device}, but this onnxruntime is built for CPUs. "
            "Run: pip install onnxruntime-gpu, or pass --device cpu"
        )
    return [(one, {"device_id": index} if index and one != _PROVIDERS[-1] else {}) for one in found]


class OnnxModel(LoadedModel):
    """A graph in memory."""

    platform = "onnxruntime_onnx"

    def __init__(self, session: Any, path: Path, settings: Settings, unused: list[str]) -> None:
        inputs, outputs = session.get_inputs(), session.get_outputs()
        self._session = session
        self._outputs: list[str] = [output.name for output in outputs]
        self._text = frozenset(one.name for one in inputs if one.type == "tensor(string)")
        self._bf16 = frozenset(one.name for one in inputs if one.type == "tensor(bfloat16)")
        self._raw = any(one.type == "tensor(bfloat16)" for one in (*inputs, *outputs))
        self._convert = [_converter(one.type) for one in outputs]
        own = Signature(
            inputs=tuple(TensorSpec(one.name, _input_datatype(path, one), _shape(one)) for one in inputs),
            outputs=tuple(_output_spec(path, one) for one in outputs),
        )
        self.signature = settle(own, settings.signature, path)
        obstacle = _batch_obstacle(inputs, outputs)
        self.batchable = obstacle is None
        producer = session.get_modelmeta().producer_name
        device = session.get_providers()[0].removesuffix("ExecutionProvider")
        self.description = "; ".join(
            [
                f"ONNX graph{f' by {producer}' if producer else ''} on {device}",
                f"takes {summary(self.signature.inputs)}",
                f"gives {summary(self.signature.outputs)}",
                *([f"requests are not joined: {obstacle}"] if obstacle else []),
            ]
        )
        self.notes = tuple(f"onnxruntime has {provider}, but could not use it here" for provider in unused)

    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, object]) -> Mapping[str, Array]:
        """Runs the graph."""
        del parameters
        feeds: dict[str, Array] = dict(inputs)
        for name in self._text:
            feeds[name] = _text(name, feeds[name])
        try:
            results = self._run_raw(feeds) if self._raw else self._session.run(self._outputs, feeds)
        except Exception as error:  # its exceptions have no base class of their own
            raise _failure(error, feeds) from error
        return {
            name: convert(result)
            for name, convert, result in zip(self._outputs, self._convert, results, strict=True)
        }

    def _run_raw(self, feeds: Mapping[str, Array]) -> list[Any]:
        """Runs by OrtValues, which can hold BF16; its bits stay in the runtime's memory until they are converted."""
        value: Any = importlib.import_module("onnxruntime").OrtValue
        values = {
            name: value.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), _BFLOAT16)
            if name in self._bf16
            else value.ortvalue_from_numpy(array)
            for name, array in feeds.items()
        }
        results = self._session.run_with_ort_values(self._outputs, values)
        return [result if result.data_type() == "tensor(bfloat16)" else result.numpy() for result in results]


def _input_datatype(path: Path, one: Any) -> str:
    if datatype := _DATATYPE.get(_inside(one.type, "tensor")):
        return datatype
    raise LoadError(
        f'{path}: input "{one.name}" is a {one.type}, which a request cannot carry. '
        f"Change the graph to take tensors of {', '.join(_DATATYPE)}."
    )


def _output_spec(path: Path, one: Any) -> TensorSpec:
    """An output as a client sees it; BF16 is given as FP32, maps as a matrix of one column a key."""
    kind: str = one.type
    if (of_map := _inside(kind, "seq", "map") or _inside(kind, "map")) and "," in of_map:
        datatype, shape = _DATATYPE.get(_inside(of_map.split(",", 1)[1], "tensor")), (-1, -1)
    elif of_sequence := _inside(kind, "seq", "tensor"):
        datatype, shape = _DATATYPE.get(of_sequence), ()
    else:
        datatype, shape = _DATATYPE.get(_inside(kind, "tensor")), _shape(one)
    if datatype is None:
        raise LoadError(
            f'{path}: output "{one.name}" is a {kind}, which an answer cannot carry. '
            f"Change the graph to give tensors of {', '.join(_DATATYPE)}."
        )
    return TensorSpec(one.name, "FP32" if datatype == "BF16" else datatype, shape)


def _inside(kind: str, *outer: str) -> str:
    """What stands between the brackets: `float` in `seq(tensor(float))` for seq, tensor; empty if not so."""
    for name in outer:
        if not (kind.startswith(f"{name}(") and kind.endswith(")")):
            return ""
        kind = kind[len(name) + 1 : -1]
    return kind


def _shape(one: Any) -> tuple[int, ...]:
    """Names of axes and unknown lengths as -1. Unknown rank and a scalar are both `()`: the session tells no more."""
    return tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in one.shape)


def _batch_obstacle(inputs: list[Any], outputs: list[Any]) -> str | None:
    """Why requests must not be joined along the first axis, or None.

    The first axis must be open in all inputs and outputs, and wherever it has a name, the same: an output whose
    rows are, say, the objects that were detected cannot be divided among requests.
    """
    names: set[str] = set()
    for one in (*inputs, *outputs):
        if not one.type.startswith("tensor("):
            if not one.type.startswith("seq(map("):
                return f"{one.name} is a {one.type}"
            continue
        if not one.shape:
            return f"{one.name} has no axis for rows"
        if isinstance(first := one.shape[0], int):
            return f"{one.name} has {first} row{'' if first == 1 else 's'}"
        # Exporters invent such names for axes that have none.
        if first and not re.match(r"unk__\d+$|.*_dynamic_axes_\d+$", first):
            names.add(first)
    return f"first axes differ ({', '.join(sorted(names))})" if len(names) > 1 else None


def _text(name: str, array: Array) -> Array:
    """BYTES as `str`: ONNX Runtime would take the bytes `b"a"` for the text `b'a'`."""
    flat = array.ravel().tolist()
    try:
        flat = [one.decode() if isinstance(one, bytes) else one for one in flat]
    except UnicodeDecodeError as error:
        raise InvalidInput(f'inputs: input "{name}" takes text, got bytes that are not UTF-8.') from error
    text = np.empty(len(flat), object)
    text[:] = flat
    return text.reshape(array.shape)


def _converter(kind: str) -> Callable[[Any], Array]:
    """From what ONNX Runtime gives to an array."""
    if kind.startswith("seq(map("):
        return lambda rows: columns_of_maps(rows, kind)
    if kind.startswith("map("):
        return lambda row: columns_of_maps([row], kind)
    if kind.startswith("seq("):
        return _stacked
    if kind == "tensor(bfloat16)":
        return _bf16_values
    return np.asarray


def _stacked(parts: list[Array]) -> Array:
    if len({part.shape for part in parts}) > 1:
        raise InferenceError(
            f"The model gave a sequence of tensors of different shapes ({parts[0].shape}, …), which an answer "
            "cannot carry."
        )
    return np.stack(parts) if parts else np.empty(0, np.float32)


def _bf16_values(result: Any) -> NDArray[np.float32]:
    """The bits out of the runtime's memory: NumPy has no BF16, so `OrtValue.numpy()` refuses."""
    bits = np.frombuffer(ctypes.string_at(result.data_ptr(), result.tensor_size_in_bytes()), np.uint16)
    return bf16_to_fp32(bits).reshape(result.shape())


def _failure(error: Exception, feeds: Mapping[str, Array]) -> ServeError:
    """The caller's fault where shapes or values do not fit what the graph computes, else the model's."""
    if isinstance(error, ServeError):
        return error
    reason = _reason(error)
    if type(error).__name__ == "InvalidArgument" or _MISFIT.search(reason):
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
        return InvalidInput(f"inputs: the model cannot compute with {shapes}: {reason}")
    return InferenceError(f"onnxruntime: {reason}")


def _reason(error: Exception) -> str:
    """The last part of ONNX Runtime's message, without codes, source files and C++ signatures."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    node = re.search(r"while running (\w+) node\.", text)
    text = re.sub(r"^Non-zero status code returned.*?Status Message: ", "", text)
    text = re.sub(r"^(Load model from .*? failed: ?)", "", text)
    # path/file.cc:12 return_type function(arguments) message
    text = re.sub(r"^\S+\.(?:cc|h|cpp):\d+ (?:[^()]*\((?:[^()]|\([^()]*\))*\)(?: const)? )?", "", text)
    return f"{node[1]}: {text}" if node else text


def _unloadable(path: Path, error: Exception, version: str) -> LoadError:
    """What is wrong with the file, and what to do."""
    text = str(error)
    if (elsewhere := pointer(path)) is not None:
        return elsewhere
    if found := re.search(
        r"Opset (\d+) is under development.*for domain (\S+) is till opset (\d+)", text, re.DOTALL
    ):
        needs, domain, most = found.groups()
        return LoadError(
            f"{path}: needs opset {needs} of {domain}, onnxruntime {version} knows {most}. "
            f"Run: pip install --upgrade onnxruntime, or export with opset {most}."
        )
    if found := re.search(r"IR version: (\d+), max supported IR version: (\d+)", text):
        return LoadError(
            f"{path}: has IR version {found[1]}, onnxruntime {version} knows {found[2]}. Run: pip install --upgrade "
            f"onnxruntime, or export with an older onnx package (model.ir_version = {found[2]})."
        )
    if re.search(r"Protobuf parsing failed|No graph was found", text):
        size = path.stat().st_size if path.exists() else 0
        return LoadError(
            f"{path}: is no complete ONNX file ({size} bytes, beginning with {beginning(path)[:8]!r}). "
            "Export or download it again."
        )
    if re.search(r"external data|External data|model_path must not be empty", text):
        return LoadError(
            f"{path}: {_reason(error)} Its weights are in files of their own: keep them beside it, under their names."
        )
    if found := re.search(r"Failed to construct locale with name:([^\s:]+)", text):
        name = found[1]
        return LoadError(
            f"{path}: a StringNormalizer in it changes case by the rules of the locale {name}, which this machine does "
            f"not have. Install it (Debian, Ubuntu: apt-get install locales, then localedef -i {name.partition('.')[0]} -f "
            f"UTF-8 {name}), or export the vectorizer with lowercase=False."
        )
    if found := re.search(
        r"No opset import for domain '(.*?)'|is not a registered function|No Op registered for", text
    ):
        return LoadError(
            f"{path}: uses operators that onnxruntime {version} does not have: {_reason(error)} "
            "Export it with standard operators."
        )
    return LoadError(f"{path}: onnxruntime {version} cannot load it: {_reason(error)}")
