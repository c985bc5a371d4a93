"""How a model is given to the data plane."""

from __future__ import annotations

from typing import NamedTuple

from modelport.server.arrays import ArrayExecutor
from modelport.server.form import Form, form_of
from modelport.server.model import Model
from modelport.server.payload import PayloadExecutor


class Registration(NamedTuple):
    """An executor, and the options of `Server.put` that go with it."""

    executor: ArrayExecutor | PayloadExecutor
    tensors: bool
    raw_v1: bool
    explains: bool
    wants_headers: bool
    max_batch_size: int


def register(model: Model) -> Registration:
    """Looks at a model once, so that nothing needs to be looked at when requests come.

    Raises TypeError, naming the method, where a signature cannot be served.
    """
    explains = model.overrides("explain")
    if form_of(model) is Form.PAYLOAD:
        return Registration(PayloadExecutor(model), False, True, explains, True, 1)
    executor = ArrayExecutor(model)
    return Registration(
        executor,
        tensors=not executor.takes_one,
        raw_v1=False,
        explains=explains,
        wants_headers=executor.wants_headers,
        max_batch_size=model.max_batch_size if executor.joins else 1,
    )
