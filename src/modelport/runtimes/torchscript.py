"""TorchScript (`.pt`, `.pth`). It knows the names of its tensors only: arrays reach `forward` by name, else in order,
and floats take the dtype of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modelport.protocol.datatype import Array
from modelport.protocol.errors import InvalidInput
from modelport.runtimes.torchmodule import TorchModel, spoken
from modelport.server.runtime import LoadError, Settings
from modelport.server.signature import Signature
from modelport.server.tensors import settle, summary

_TENSORS: Final = ("Tensor", "Optional[Tensor]")
"""Types of arguments that a request can fill."""


class ScriptModel(TorchModel):
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
                f"TorchScript forward({', '.join(self._names)}), torch {torch.__version__} on {spoken(torch, device)}",
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
