"""The data plane's Request and Reply with the attributes of `_dataplane.pyi`, in memory."""

import json
import threading
from dataclasses import dataclass, field

import numpy as np


def tensor(name, array, datatype=None, nulls=None):
    """An Input as the data plane gives it."""
    from modelport.protocol.datatype import datatype_of

    array = np.asarray(array)
    datatype = datatype or datatype_of(array.dtype)
    if datatype == "BYTES":
        flat = [one.encode() if isinstance(one, str) else one for one in array.ravel().tolist()]
        return (name, datatype, array.shape, flat, nulls)
    return (name, datatype, array.shape, bytearray(array.tobytes()), nulls)


@dataclass
class Request:
    protocol: str = "v1"
    verb: str = "predict"
    body: bytes | None = None
    inputs: list | None = None
    headers: dict = field(default_factory=dict)
    parameters: dict = field(default_factory=dict)
    input_parameters: list | None = None
    outputs: list = field(default_factory=list)
    request_id: str = "r-1"
    id: str | None = None


def v1(body, **more):
    return Request("v1", body=body if isinstance(body, bytes) else json.dumps(body).encode(), **more)


def v2(*inputs, **more):
    return Request(more.pop("protocol", "v2"), inputs=list(inputs), **more)


class Stream:
    def __init__(self, reply, limit):
        self.parts, self.closed, self.failed = [], False, None
        self._reply, self._limit = reply, limit

    def offer(self, part):
        return self.send(part) or None

    def send(self, part):
        assert isinstance(part, bytes)
        assert not self.closed
        if self._limit is not None and len(self.parts) >= self._limit:
            return False
        self.parts.append(part)
        return True

    def close(self):
        self.closed = True
        self._reply.done.set()

    def fail(self, status, message):
        self.failed = (status, message)
        self._reply.done.set()


class Reply:
    def __init__(self, cancelled=False, limit=None):
        self.cancelled, self._limit = cancelled, limit
        self.kind = None
        self.done = threading.Event()

    def _once(self, kind):
        assert self.kind is None, "answered twice"
        self.kind = kind

    def tensors(self, outputs):
        self._once("tensors")
        self.outputs, self.parameters, self.headers = outputs
        self.done.set()

    def body(self, status, content_type, headers, body):
        self._once("body")
        assert isinstance(body, bytes)
        self.status, self.content_type, self.headers, self.content = status, content_type, dict(headers), body
        self.done.set()

    def stream(self, content_type, headers):
        self._once("stream")
        self.content_type, self.headers = content_type, dict(headers)
        self.sent = Stream(self, self._limit)
        return self.sent

    def fail(self, status, message):
        self._once("fail")
        self.status, self.message = status, message
        self.done.set()

    @property
    def json(self):
        return json.loads(self.content)

    @property
    def named(self):
        return {name: np.asarray(data).reshape(shape).tolist() for name, _, shape, data in self.outputs}


def ask(executor, request, **more):
    """The reply to a request."""
    reply = Reply(**more)
    executor.handle(request, reply)
    assert reply.done.wait(20), "never answered"
    return reply
