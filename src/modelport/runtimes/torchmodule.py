"""What PyTorch's forms share: a module is called with arrays, and what it returns goes out by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import numpy as np

from modelport.protocol.datatype import Array
from modelport.protocol.errors import InferenceError, InvalidInput, ServeError
from modelport.server.runtime import LoadedModel, Unusable

_MISFIT: Final = re.compile(
    r"\b(shapes?|sizes?|dimensions?|dtype|scalar type)\b|must match|index out of|out of (bounds|range)|Guard failed",
    re.IGNORECASE,
)
"""What operators and an exported program's guards say when the tensors that came do not go together."""

_CONTEXT_LOST: Final = re.compile(r"(?:CUDA|CUDA driver|HIP) error: [^\n]*[^\n.]")
"""What torch says where a kernel failed: every later call in the process fails as well."""


class TorchModel(LoadedModel):
    """Arrays in without a copy, whatever the module returns out by name."""

    def __init__(self, torch: Any, module: Any, device: Any) -> None:
        self._torch = torch
        self._module = module
        self._device = device

    def _call(
        self, shapes: Mapping[str, Array], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> dict[str, Array]:
        try:
            with self._torch.inference_mode():
                return dict(named(self._module(*args, **kwargs), self._array))
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
        reason = reason_of(error)
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


def named(result: Any, leaf: Callable[[Any], Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
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
        yield from named(value, leaf, f"{prefix}.{name}" if prefix else name)


def spoken(torch: Any, device: Any) -> str:
    """What the user calls it: CPU, or the GPU's own name."""
    if device.type == "cpu":
        return "CPU"
    return f"{device} ({torch.cuda.get_device_name(device)})"


def reason_of(error: Exception) -> str:
    """PyTorch's message without the interpreter's traceback, which names files of the machine that exported."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    line = lines[-1] if "TorchScript" in lines[0] else lines[0]
    return re.sub(r"^(?:[\w.]*(?:Error|Exception)): ", "", line)
