"""Models that take payloads, as KServe's do: one request a call, through preprocess, predict, postprocess."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from modelport.protocol import json
from modelport.protocol.errors import InvalidInput, Unimplemented
from modelport.protocol.frame import as_text
from modelport.protocol.infer import InferRequest
from modelport.protocol.infer_tensor import InferInput, RequestedOutput
from modelport.protocol.tensor import to_array
from modelport.server.answer import Parts, answer, is_async_stream, is_stream
from modelport.server.failure import sayable, to_serve_error
from modelport.server.form import is_async
from modelport.server.loop import LOOP
from modelport.server.model import Model

if TYPE_CHECKING:
    from modelport._dataplane import Input, Outputs, Parameters, Reply, Request

logger = logging.getLogger("modelport")

_JSON = (
    "",
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "text/plain",
)


class PayloadExecutor:
    """Answers each request by itself.

    A model without async methods works on the thread that calls. With any, the request moves to the event
    loop, and what is not async in it runs on one thread that the model's requests share.
    """

    def __init__(self, model: Model) -> None:
        self._name = model.name
        self._steps = {
            "predict": _plan(model, "preprocess", "predict", "postprocess"),
            "explain": _plan(model, "preprocess", "explain", "postprocess"),
        }
        self._is_async = {verb: any(step.is_async for step in steps) for verb, steps in self._steps.items()}
        self._thread = (
            ThreadPoolExecutor(1, f"modelport-{model.name}") if any(self._is_async.values()) else None
        )

    def run(self, inputs: list[Input], parameters: Parameters, headers: dict[str, str]) -> Outputs:
        """Such a model has no batches."""
        raise Unimplemented(f"Model {self._name} takes payloads, one request a call.")

    def handle(self, request: Request, reply: Reply) -> None:
        """Answers one request: now, or later from the event loop."""
        if reply.cancelled:
            return
        try:
            payload = to_payload(request, self._name)
        except Exception as error:  # noqa: BLE001 - told to the client
            fail(reply, error, self._name)
            return
        if self._is_async[request.verb]:
            LOOP.submit(self._answered(request, reply, payload), lambda: reply.cancelled)
        else:
            finish(self._answered(request, reply, payload))

    async def _answered(self, request: Request, reply: Reply, payload: Any) -> None:
        # One course for both kinds of model. Without async steps nothing in it waits, see `finish`.
        response_headers: dict[str, str] = {}
        on_loop = self._is_async[request.verb]
        try:
            result = payload
            for step in self._steps[request.verb]:
                if step.name == request.verb:
                    _check(result)  # here, as in KServe: preprocess may have put it right
                result = await self._take(step, result, request.headers, response_headers, on_loop)
            await deliver(reply, request, result, response_headers, self._name, self._thread, on_loop)
        except BaseException as error:  # noqa: BLE001 - nothing may escape to the loop
            fail(reply, error, self._name)

    async def _take(
        self,
        step: Step,
        payload: Any,
        headers: dict[str, str],
        response_headers: dict[str, str],
        on_loop: bool,
    ) -> Any:
        arguments = (payload, headers, response_headers)[: step.arity]
        if on_loop and not step.is_async:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, functools.partial(step.method, *arguments))
        result = step.method(*arguments)
        if not inspect.isawaitable(result):
            return result
        if on_loop:
            return await result
        return LOOP.call(
            cast("Coroutine[Any, Any, Any]", result)
        )  # a plain function that returned a coroutine


class Step(NamedTuple):
    """A method of the model on a request's way."""

    name: str
    method: Callable[..., Any]
    arity: int
    """How many of payload, headers and response headers it takes."""
    is_async: bool


def _plan(model: Model, *names: str) -> tuple[Step, ...]:
    # The defaults of preprocess and postprocess do nothing, so they are left out.
    named = [name for name in names if name in ("predict", "explain") or model.overrides(name)]
    return tuple(_step(model, name) for name in named)


def _step(model: Model, name: str) -> Step:
    method = getattr(model, name)
    most = 3 if model.required_response_headers and name in ("predict", "postprocess") else 2
    parameters = inspect.signature(method).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        arity = most
    else:
        places = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        needed = sum(place.default is place.empty for place in places)
        arity = max(min(len(places), most), needed)
        if not places or arity > 3:
            raise TypeError(
                f"{type(model).__name__}.{name}: must take (payload, headers, response_headers) or the first "
                f"one or two of them, got {inspect.signature(method)}."
            )
    return Step(name, method, arity, is_async(method))


def finish(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine that never waits to its end, on this thread, and returns its result."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("a model without async methods waited")


async def deliver(
    reply: Reply,
    request: Request,
    result: Any,
    headers: dict[str, str],
    model_name: str,
    thread: ThreadPoolExecutor | None,
    on_loop: bool,
) -> None:
    """Sends a result, whole or in parts."""
    if not is_stream(result):
        answer(reply, request, result, headers, model_name)
        return
    parts = Parts(reply, request, headers, model_name)
    if is_async_stream(result):
        work = parts.send_all_async(result)
        if on_loop:
            await work
        else:
            LOOP.submit(_guarded(work, reply, model_name), lambda: reply.cancelled)
    elif on_loop:
        await asyncio.get_running_loop().run_in_executor(thread, parts.send_all, result)
    else:
        parts.send_all(result)


async def _guarded(work: Coroutine[Any, Any, None], reply: Reply, model_name: str) -> None:
    try:
        await work
    except BaseException as error:  # noqa: BLE001 - nothing may escape to the loop
        fail(reply, error, model_name)


def fail(reply: Reply, error: BaseException, model_name: str) -> None:
    """Tells the client of an error."""
    if isinstance(error, asyncio.CancelledError) and reply.cancelled:
        return  # by us, since there is no client any more
    told = to_serve_error(error, model_name)
    try:
        reply.fail(told.status, sayable(told))
    except Exception:
        logger.exception("Model %s: the request was answered already.", model_name)


def to_payload(request: Request, model_name: str) -> Any:
    """What KServe would hand the model: the JSON body, raw bytes of another media type, or an InferRequest."""
    if request.inputs is None:
        body = request.body or b""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type in _JSON or media_type.endswith("+json"):
            return json.decode(body)
        return body
    from_grpc = request.protocol == "grpc"
    parameters = request.input_parameters or [{} for _ in request.inputs]
    return InferRequest(
        model_name=model_name,
        infer_inputs=[
            _infer_input(given, dict(own), from_grpc)
            for given, own in zip(request.inputs, parameters, strict=True)
        ],
        request_id=request.id,
        from_grpc=from_grpc,
        parameters=dict(request.parameters),
        request_outputs=[RequestedOutput(name, own) for name, own in request.outputs] or None,
    )


def _infer_input(given: Input, parameters: dict[str, Any], from_grpc: bool) -> InferInput:
    name, datatype, shape, data, _ = given
    array = to_array(given)
    if datatype == "BYTES" and not from_grpc:
        array = np.empty(array.size, object)
        array[:] = as_text(cast("list[Any]", data))
        array = array.reshape(shape)
    return InferInput.of_array(name, array, datatype, parameters)


def _check(payload: Any) -> None:
    if isinstance(payload, dict) and not isinstance(payload.get("instances", []), list):  # pyright: ignore[reportUnknownMemberType]
        raise InvalidInput('Expected "instances" to be a list')
