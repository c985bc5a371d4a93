"""Models whose `predict` takes arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from modelport.protocol.errors import InferenceError, InvalidInput
from modelport.protocol.tensor import to_array, to_outputs
from modelport.server.answer import clean, is_stream, to_tensors
from modelport.server.binding import Binding
from modelport.server.failure import to_serve_error
from modelport.server.form import EXTRAS, Accepts, accepts, is_async, streams
from modelport.server.loaded import fitting
from modelport.server.loop import LOOP
from modelport.server.model import Model
from modelport.server.payload import PayloadExecutor, deliver, fail, finish

if TYPE_CHECKING:
    from modelport._dataplane import Input, Outputs, Parameters, Reply, Request

_ALONE = {"headers", "response_headers"}


class ArrayExecutor:
    """Calls a model with arrays: `run` with the joined rows of several requests, or, where the model is async
    or streams, `handle` with those of one."""

    def __init__(self, model: Model) -> None:
        self._name = model.name
        self._steps = [
            _Step(model, name) for name in ("preprocess", "predict", "postprocess") if model.overrides(name)
        ]
        self._is_async = any(step.is_async for step in self._steps)
        signature = model.signature
        self._fit = _as_sent
        if signature is not None and signature.inputs:
            self._fit = fitting(signature, accepts_missing=True)
        self._bind = Binding(cast("Accepts", accepts(self._steps[0].method)), signature)
        self._names = tuple(spec.name for spec in signature.outputs) if signature else ()
        self._only = self._steps[0].method if self._is_plain() else None
        self._output = self._names[0] if len(self._names) == 1 else "output-0"
        self._explainer = PayloadExecutor(model) if model.overrides("explain") else None

    @property
    def takes_one(self) -> bool:
        """Whether each request goes to `handle`: the model awaits or streams."""
        return self._is_async or any(step.streams for step in self._steps)

    @property
    def joins(self) -> bool:
        """Whether rows of several requests may come in one call; headers belong to one request."""
        return not self.takes_one and not any(_ALONE & set(step.extras) for step in self._steps)

    @property
    def wants_headers(self) -> bool:
        """Whether a method takes the request's headers, or may need to know what the client accepts."""
        return self.takes_one or any("headers" in step.extras for step in self._steps)

    def run(self, inputs: list[Input], parameters: Parameters, headers: dict[str, str]) -> Outputs:
        """Predicts the joined rows of one or more requests."""
        response_headers: dict[str, str] = {}
        try:
            if self._only is not None:
                result = self._only(**self._bind(self._fit(inputs)))
                if type(result) is np.ndarray:
                    return to_outputs({self._output: result}), None, None
                if inspect.iscoroutine(result):
                    result = LOOP.call(result)
            else:
                result = finish(self._predicted(inputs, (parameters, headers, response_headers)))
            if is_stream(result):
                raise InferenceError(
                    f"Model {self._name} returned an iterator. Annotate predict with -> Iterator[…] to stream."
                )
            return to_tensors(result, clean(response_headers), self._name, self._names, by_name=True)
        except Exception as error:
            raise to_serve_error(error, self._name) from error

    def _is_plain(self) -> bool:
        # One method that takes arrays and nothing else: what most models are, so `run` is short for them.
        return len(self._steps) == 1 and not self.takes_one and not self._steps[0].extras

    def handle(self, request: Request, reply: Reply) -> None:
        """Answers one request: with an explanation, from the event loop, or in parts."""
        if reply.cancelled:
            return
        if request.verb == "explain" and self._explainer is not None:
            self._explainer.handle(request, reply)
        elif self._is_async:
            LOOP.submit(self._answered(request, reply), lambda: reply.cancelled)
        else:
            finish(self._answered(request, reply))

    async def _answered(self, request: Request, reply: Reply) -> None:
        response_headers: dict[str, str] = {}
        try:
            if request.inputs is None:
                raise InvalidInput("body: must be tensors (V2) or instances (V1).")
            result = await self._predicted(
                request.inputs, (request.parameters, request.headers, response_headers)
            )
            if not is_stream(result):
                outputs = to_tensors(result, clean(response_headers), self._name, self._names, by_name=True)
                reply.tensors(outputs)
                return
            await deliver(reply, request, result, response_headers, self._name, None, self._is_async)
        except BaseException as error:  # noqa: BLE001 - nothing may escape to the loop
            fail(reply, error, self._name)

    async def _predicted(self, inputs: list[Input], extras: tuple[Any, ...]) -> Any:
        arguments: tuple[tuple[Any, ...], Mapping[str, Any]] = ((), self._bind(self._fit(inputs)))
        result: Any = None
        for step in self._steps:
            result = step.method(*arguments[0], **arguments[1], **step.pick(extras))
            if inspect.iscoroutine(result):
                result = await result if self._is_async else LOOP.call(result)
            arguments = _next_arguments(result, step)
        return result


def _as_sent(inputs: list[Input]) -> dict[str, Any]:
    return {one[0]: to_array(one) for one in inputs}


def _next_arguments(result: Any, step: _Step) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    # What preprocess returns is what predict takes: by name, by place, or the one thing.
    if step.name == "preprocess" and isinstance(result, dict):
        return (), cast("dict[str, Any]", result)
    if step.name == "preprocess" and isinstance(result, tuple):
        return cast("tuple[Any, ...]", result), {}
    return (result,), {}


class _Step:
    """A method of the model, with what it asks for beside arrays."""

    def __init__(self, model: Model, name: str) -> None:
        self.name = name
        self.method: Callable[..., Any] = getattr(model, name)
        self.is_async = is_async(self.method)
        self.streams = streams(self.method)
        known = inspect.signature(self.method).parameters
        self.extras = tuple(extra for extra in EXTRAS if extra in known)

    def pick(self, extras: tuple[Any, ...]) -> dict[str, Any]:
        """Those of parameters, headers and response headers that the method takes."""
        if not self.extras:
            return {}
        return {name: value for name, value in zip(EXTRAS, extras, strict=True) if name in self.extras}
