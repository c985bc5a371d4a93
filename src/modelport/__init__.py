"""Modelport serves machine-learning models behind one standard interface: KServe's.

The names below are the public API; each is imported on first use, so that `import modelport` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelport.inprocess import serve as serve
    from modelport.protocol.errors import HTTPError as HTTPError
    from modelport.protocol.errors import InferenceError as InferenceError
    from modelport.protocol.errors import InvalidInput as InvalidInput
    from modelport.protocol.errors import ModelNotFound as ModelNotFound
    from modelport.protocol.errors import ModelNotReady as ModelNotReady
    from modelport.protocol.infer import InferRequest as InferRequest
    from modelport.protocol.infer import InferResponse as InferResponse
    from modelport.protocol.infer_tensor import InferInput as InferInput
    from modelport.protocol.infer_tensor import InferOutput as InferOutput
    from modelport.protocol.infer_tensor import RequestedOutput as RequestedOutput
    from modelport.protocol.predict_input import get_predict_input as get_predict_input
    from modelport.protocol.predict_input import get_predict_response as get_predict_response
    from modelport.server.model import Model as Model
    from modelport.server.model_server import ModelServer as ModelServer
    from modelport.server.save import save as save

    __version__: str

_HOME = {
    "HTTPError": "modelport.protocol.errors",
    "InferInput": "modelport.protocol.infer_tensor",
    "InferOutput": "modelport.protocol.infer_tensor",
    "InferRequest": "modelport.protocol.infer",
    "InferResponse": "modelport.protocol.infer",
    "InferenceError": "modelport.protocol.errors",
    "InvalidInput": "modelport.protocol.errors",
    "Model": "modelport.server.model",
    "ModelServer": "modelport.server.model_server",
    "ModelNotFound": "modelport.protocol.errors",
    "ModelNotReady": "modelport.protocol.errors",
    "RequestedOutput": "modelport.protocol.infer_tensor",
    "get_predict_input": "modelport.protocol.predict_input",
    "get_predict_response": "modelport.protocol.predict_input",
    "save": "modelport.server.save",
    "serve": "modelport.inprocess",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll] - one table, not two


def __getattr__(name: str) -> object:
    if home := _HOME.get(name):
        return getattr(importlib.import_module(home), name)
    if name == "__version__":
        from importlib.metadata import version

        # Kept: reading it again costs a forked process two megabytes of pages that it shared until then.
        globals()["__version__"] = found = version("modelport")
        return found
    raise AttributeError(f"module 'modelport' has no attribute {name!r}")
