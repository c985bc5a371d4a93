"""A model's result on its way into a reply, for the protocol that the request came by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import numpy as np

from modelport.protocol import json
from modelport.protocol.errors import InferenceError, InvalidInput, Unimplemented
from modelport.protocol.frame import is_series
from modelport.protocol.infer import InferResponse
from modelport.protocol.infer_tensor import InferOutput
from modelport.protocol.tensor import fp32_to_bf16, to_named, to_outputs
from modelport.server.failure import sayable, to_serve_error

if TYPE_CHECKING:
    from modelport._dataplane import Output, Outputs, Parameters, Reply, Request, Stream

logger = logging.getLogger("modelport")

EVENTS = "text/event-stream"
_LINES = "application/x-ndjson"
_WRAPPED = {"predict": "predictions", "explain": "explanations"}

SLOW_CLIENT_S = 0.005
"""How long an async stream waits before it offers a part again to a client that is slow."""


def answer(reply: Reply, request: Request, result: Any, headers: Mapping[str, Any], model_name: str) -> None:
    """Sends a whole result. `headers` are those that the model set for the response."""
    sent = clean(headers)
    if isinstance(result, str | bytes | bytearray):
        if request.protocol == "grpc":
            raise InferenceError(
                f"Model {model_name} returned {type(result).__name__}, which gRPC cannot carry. "
                "Return an InferResponse or arrays."
            )
        body, kind = (
            (result.encode(), "text/plain; charset=utf-8") if isinstance(result, str) else (result, None)
        )
        reply.body(200, sent.pop("content-type", kind or "application/octet-stream"), sent, bytes(body))
    elif request.protocol == "v1" and request.inputs is None:
        _answer_json(reply, request.verb, result, sent)
    else:
        reply.tensors(to_tensors(result, sent, model_name))


def _answer_json(reply: Reply, verb: str, result: Any, headers: dict[str, str]) -> None:
    if isinstance(result, InferResponse):
        message, length = result.to_rest()
        if isinstance(message, bytes):
            headers["inference-header-content-length"] = str(length)
            reply.body(200, "application/octet-stream", headers, message)
            return
        result = message
    elif not isinstance(result, Mapping):
        result = {_WRAPPED[verb]: cast("object", result)}
    reply.body(
        200, headers.pop("content-type", "application/json"), headers, json.encode(cast("object", result))
    )


def to_tensors(
    result: Any,
    headers: dict[str, str],
    model_name: str,
    names: tuple[str, ...] = (),
    *,
    by_name: bool = False,
) -> Outputs:
    """A result as outputs: an InferResponse, its dict, or arrays of any form.

    With `by_name`, a dict is nothing but arrays by name, whatever the names.
    """
    if isinstance(result, Mapping) and not by_name:
        result = _from_dict(cast("Mapping[str, Any]", result), model_name)
    headers.pop("content-type", None)
    if isinstance(result, InferResponse):
        outputs = [_output(output) for output in result.outputs]
        return outputs, _parameters(result.parameters), headers or None
    named = to_named(cast("object", result), names)
    return to_outputs(named), None, headers or None


def _from_dict(result: Mapping[str, Any], model_name: str) -> Any:
    members = dict(result)
    if isinstance(members.get("outputs"), list):
        try:
            return InferResponse.from_rest(members)
        except InvalidInput as error:
            raise InferenceError(f"Model {model_name} returned a malformed response: {error}") from error
    if set(members) == {"predictions"}:  # a model that answers V1 only
        return members["predictions"]
    if members and all(map(_is_array_like, members.values())):
        return members
    raise InferenceError(
        f"Model {model_name} returned a dict with {', '.join(map(repr, members)) or 'nothing'} for a V2 request. "
        "Return an InferResponse, arrays by name, or a dict with 'outputs'."
    )


def _is_array_like(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | list | tuple) or is_series(value)


def _output(output: InferOutput) -> Output:
    try:
        array = output.as_numpy()
    except InvalidInput as error:
        raise InferenceError(str(error)) from error
    if output.datatype == "BF16":
        array = fp32_to_bf16(array)
        return output.name, "BF16", array.shape, array
    return to_outputs({output.name: array})[0]


def _parameters(parameters: Mapping[str, Any] | None) -> Parameters | None:
    if not parameters:
        return None
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in parameters.items()
    }


def clean(headers: Mapping[str, Any]) -> dict[str, str]:
    """Response headers in lower case, without those that the server writes itself."""
    named = {str(name).lower(): str(value) for name, value in headers.items()}
    named.pop("content-length", None)
    return named


def is_stream(result: Any) -> bool:
    """Whether a result comes in parts: an iterator, sync or async."""
    return is_async_stream(result) or (hasattr(result, "__next__") and hasattr(result, "__iter__"))


def is_async_stream(result: Any) -> TypeGuard[AsyncIterator[Any]]:
    """Whether a result comes in parts that are awaited."""
    return hasattr(result, "__aiter__") and hasattr(result, "__anext__")


class Parts:
    """A result in parts, being sent. The first part is made before the answer begins, so that a model which
    fails at once still answers with its status."""

    def __init__(self, reply: Reply, request: Request, headers: Mapping[str, Any], model_name: str) -> None:
        if request.protocol == "grpc":
            raise Unimplemented(
                f"Model {model_name} streams its answer, which gRPC cannot carry. Ask by REST."
            )
        self._reply = reply
        self._accept = request.headers.get("accept", "")
        self._headers = clean(headers)
        self._model_name = model_name

    def send_all(self, parts: Iterator[Any]) -> None:
        """Sends a generator's parts, on this thread."""
        first = next(parts, _END)
        stream, events = self._open(first)
        try:
            part = first
            while part is not _END and stream.send(_encoded(part, events)):
                part = next(parts, _END)
        except Exception as error:  # noqa: BLE001 - the model's
            self._fail(stream, error)
        else:
            stream.close()
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()

    async def send_all_async(self, parts: AsyncIterator[Any]) -> None:
        """Sends an async generator's parts; waiting for a slow client leaves the event loop free."""
        first = await anext(parts, _END)
        stream, events = self._open(first)
        try:
            part = first
            while part is not _END:
                encoded = _encoded(part, events)
                while (sent := stream.offer(encoded)) is False:  # noqa: ASYNC110 - the client's pace has no event
                    await asyncio.sleep(SLOW_CLIENT_S)
                if sent is None:
                    break
                part = await anext(parts, _END)
        except Exception as error:  # noqa: BLE001 - the model's
            self._fail(stream, error)
        else:
            stream.close()
        finally:
            close = getattr(parts, "aclose", None)
            if close is not None:
                await close()

    def _open(self, first: Any) -> tuple[Stream, bool]:
        kind = self._headers.pop("content-type", None)
        if kind is None and EVENTS in self._accept:
            kind = EVENTS
        if kind is None:
            kind = "text/plain; charset=utf-8" if isinstance(first, str) else _LINES
            kind = "application/octet-stream" if isinstance(first, bytes | bytearray) else kind
        return self._reply.stream(kind, self._headers), kind.startswith(EVENTS)

    def _fail(self, stream: Stream, error: Exception) -> None:
        told = to_serve_error(error, self._model_name)
        stream.fail(told.status, sayable(told))


_END = object()


def _encoded(part: Any, events: bool) -> bytes:
    if isinstance(part, str):
        return part.encode()
    if isinstance(part, bytes | bytearray):
        return bytes(part)
    text = json.encode(part)
    return b"data: " + text + b"\n\n" if events else text + b"\n"
