"""Asking a loaded model as the server does: what the client sent is arranged, then predicted."""

from __future__ import annotations

import numpy as np

from modelport.protocol.datatype import datatype_of
from modelport.server.columns import Given, arrange
from modelport.server.runtime import Settings


def ask(loaded, inputs, **parameters):
    """Predicts; `inputs` are a matrix, or arrays and lists by name. None is a null."""
    if not isinstance(inputs, dict):
        inputs = {"input-0": inputs}
    given = [as_sent(name, values) for name, values in inputs.items()]
    arranged = arrange(given, loaded.signature, loaded.accepts_missing)
    return dict(loaded.predict(arranged, parameters))


def answer(loaded, inputs, **parameters):
    """The one output."""
    outputs = ask(loaded, inputs, **parameters)
    assert list(outputs) == ["output-0"]
    return outputs["output-0"]


def as_sent(name, values):
    """A tensor as the data plane hands it over."""
    array = np.asarray(values)
    if array.dtype.kind not in "OUT":
        return Given(name, datatype_of(array.dtype), array)
    flat = np.asarray(values, object).ravel().tolist()
    nulls = [index for index, value in enumerate(flat) if value is None or value != value]
    if any(isinstance(value, str) for value in flat):
        elements = np.empty(len(flat), object)
        elements[:] = [None if index in nulls else value.encode() for index, value in enumerate(flat)]
        return Given(name, "BYTES", elements.reshape(array.shape), nulls or None)
    numbers = np.array([0 if index in nulls else value for index, value in enumerate(flat)])
    return Given(name, datatype_of(numbers.dtype), numbers.reshape(array.shape), nulls or None)


def columns(frame):
    """A data frame as one tensor a column."""
    return {name: frame[name].to_numpy(object).tolist() for name in frame.columns}


def settings(**changes):
    return Settings(**changes)
