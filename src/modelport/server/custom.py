"""Models of somebody's own making, put before the data plane."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import inspect
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from modelport.server import example
from modelport.server.loop import settle
from modelport.server.model import Model
from modelport.server.register import register
from modelport.server.runtime import LoadError
from modelport.server.servable import Metadata, Servable
from modelport.server.signature import Signature, TensorSpec


def servable(model: Model, version: str | None = None) -> Servable:
    """What the data plane needs to serve a model that has been loaded. Raises TypeError for impossible annotations."""
    how = register(model)
    inputs, outputs = _specs(model.get_input_types()), _specs(model.get_output_types())
    kind = model.signature.kind if model.signature else "tensors"
    v1, v2 = example.from_signature(Signature(inputs=inputs, outputs=outputs, kind=kind)) or (None, None)
    takes = "takes payloads, one request a call" if how.raw_v1 else "takes arrays, joined across requests"
    description = f"{type(model).__qualname__}, {takes}"
    return Servable(
        metadata=Metadata(
            name=model.name,
            version=version,
            platform="python",
            inputs=inputs,
            outputs=outputs,
            description=description,
            example_v1=v1,
            example_v2=v2,
        ),
        executor=how.executor,
        tensors=how.tensors,
        raw_v1=how.raw_v1,
        explains=how.explains,
        wants_headers=how.wants_headers,
        max_batch_size=how.max_batch_size,
        report=f"{model.name}: {description}",
        ready=model.ready,
        watch_ready=model.watch_ready,
        close=lambda: settle(model.stop()),
    )


class _AsWritten(importlib.machinery.SourceFileLoader):
    """Reads the source each time. Python takes what it compiled before for up to date where a file was changed within
    the same second and has the same length; and a model's folder is not for us to write in."""

    def path_stats(self, path: str | bytes) -> NoReturn:
        """There is no telling whether a compiled file is up to date (PEP 302's way to do without one)."""
        raise OSError(f"{path!r}: always read anew")


def from_file(path: str, name: str) -> Model:
    """The model `file.py:Class`, loaded. Raises LoadError naming the file, the class and the cause."""
    file, _, attribute = path.rpartition(":")
    place = Path(file).resolve()
    if not place.is_file():
        raise LoadError(f"{file}: no such file.")
    sys.path.insert(0, str(place.parent))  # its own imports lie beside it
    try:
        loader = _AsWritten(place.stem, str(place))
        spec = importlib.util.spec_from_file_location(place.stem, place, loader=loader)
        if spec is None:
            raise LoadError(f"{file}: is not a Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[place.stem] = module
        loader.exec_module(module)
        model = _made(getattr(module, attribute, None), file, attribute, name)
        settle(model.load())
    except LoadError:
        raise
    except ModuleNotFoundError as error:
        raise LoadError(f"{path}: module {error.name!r} is missing. Run: pip install {error.name}") from error
    except Exception as error:
        raise LoadError(f"{path}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(place.parent))
    if not model.ready:
        raise LoadError(f"{path}: load() has not set self.ready = True.")
    return model


def _made(found: Any, file: str, attribute: str, name: str) -> Model:
    if isinstance(found, Model):
        found.name = name
        return found
    if found is None:
        raise LoadError(f"{file}: defines no {attribute!r}.")
    if not (inspect.isclass(found) and issubclass(found, Model)):
        raise LoadError(f"{file}: {attribute} must be a subclass of modelport.Model, got {found!r}.")
    build: Callable[[str], Model] = found
    return build(name)


def load(path: str, name: str, version: str | None) -> Servable:
    """Imports, loads and describes `file.py:Class`. Raises LoadError."""
    began = time.perf_counter()
    found = servable(from_file(path, name), version)
    found.report += f", loaded in {time.perf_counter() - began:.1f} s, warm-up skipped: no example"
    return found


def _specs(rows: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(row["name"], row["datatype"], tuple(row["shape"])) for row in rows)
