"""PyTorch models that bring their own code: exported programs (`.pt2`) and TorchScript (`.pt`, `.pth`).

What `torch.save` writes is a pickle: weights without a model, or a model whose Python code is elsewhere. It is
recognised by what is in the file, never by loading it, and refused with the lines that export it.

Both forms run on a GPU where torch sees one, unless the device is chosen. A GPU computes floats in another order
than a CPU, so that results differ in their last digits.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any, ClassVar

from modelport.runtimes.torchexport import ExportedModel
from modelport.runtimes.torchfile import form_of
from modelport.runtimes.torchmodule import reason_of
from modelport.runtimes.torchscript import ScriptModel
from modelport.server.runtime import LoadedModel, LoadError, Runtime, Settings


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
                f"{path}: torch {torch.__version__} cannot load it: {reason_of(error)} "
                "If a newer torch saved it, run: pip install --upgrade torch"
            ) from error


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
