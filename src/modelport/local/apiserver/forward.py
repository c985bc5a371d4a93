"""`pods/portforward`: connections to a pod's ports over one WebSocket.

Two forms: each port a channel pair of one connection (`v4.channel.k8s.io`, as the Python client has it), and SPDY in the
WebSocket, a stream pair a connection, as kubectl has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct

from starlette.websockets import WebSocket, WebSocketDisconnect

from modelport.local.apiserver import spdy

TUNNEL = "SPDY/3.1+portforward.k8s.io"
PROTOCOLS = (TUNNEL, "v4.channel.k8s.io", "portforward.k8s.io")
CHUNK_BYTES = 32 << 10
CONNECT_S = 10.0
WAITING_LIMIT = 64
"""Chunks that wait for a pod which does not read; more and the client's connection waits."""


async def channels(socket: WebSocket, ip: str, ports: list[int]) -> None:
    """Each port's data and errors on a channel: 0 and 1, 2 and 3, …"""
    connections: dict[int, _Connection] = {}
    try:
        for number, port in enumerate(ports):
            named = struct.pack("<H", port)
            for channel in (2 * number, 2 * number + 1):
                await socket.send_bytes(bytes([channel]) + named)
            connections[2 * number] = _Connection(_Channel(socket, 2 * number), ip, port)
        hearing = asyncio.create_task(_hear(socket, connections))
        ended = asyncio.gather(*(one.wait() for one in connections.values()))
        try:
            await asyncio.wait({hearing, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hearing.cancel()
            ended.cancel()
            await asyncio.gather(hearing, ended, return_exceptions=True)
        with contextlib.suppress(RuntimeError):  # this form has no other word for the end of a connection
            await socket.close()
    finally:
        await _end(connections)


async def _hear(socket: WebSocket, connections: dict[int, _Connection]) -> None:
    while (content := await _next(socket)) is not None:
        connection = connections.get(content[0]) if content else None
        if connection is not None and len(content) > 1:
            await connection.give(content[1:])


async def tunnel(socket: WebSocket, ip: str) -> None:
    """SPDY: an error stream and a data stream of one request number are a connection."""
    session = spdy.Session()
    errors: dict[str, int] = {}
    connections: dict[int, _Connection] = {}
    try:
        while (content := await _next(socket)) is not None:
            for frame in session.receive(content):
                match frame.type:
                    case spdy.SYN_STREAM:
                        await socket.send_bytes(session.reply(frame.stream))
                        request = frame.headers.get("requestid", "")
                        if frame.headers.get("streamtype") == "error":
                            errors[request] = frame.stream
                        elif request in errors:
                            pair = _Pair(socket, frame.stream, errors.pop(request))
                            port = frame.headers.get("port", "")
                            connections[frame.stream] = _Connection(
                                pair, ip, int(port) if port.isdecimal() else 0
                            )
                    case 0:
                        connection = connections.get(frame.stream)
                        if connection is not None and frame.content:
                            await connection.give(frame.content)
                        if connection is not None and frame.final:
                            await connection.give(b"")
                    case spdy.RST_STREAM:
                        if frame.stream in connections:
                            await connections.pop(frame.stream).end()
                    case spdy.PING:
                        await socket.send_bytes(spdy.control(spdy.PING, frame.content))
                    case spdy.GOAWAY:
                        return
                    case _:
                        pass
            connections = {stream: one for stream, one in connections.items() if not one.over}
    except spdy.Malformed as error:
        with contextlib.suppress(RuntimeError):
            await socket.close(1002, str(error)[:100])
    finally:
        await _end(connections)


async def _next(socket: WebSocket) -> bytes | None:
    """The client's next message; None once it has gone."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        return None
    return message.get("bytes") or (message.get("text") or "").encode()


async def _end(connections: dict[int, _Connection]) -> None:
    await asyncio.gather(*(one.end() for one in connections.values()))


class _Channel:
    """Where the pod's side of a connection goes: channels of the WebSocket."""

    def __init__(self, socket: WebSocket, channel: int) -> None:
        self._socket, self._channel = socket, channel

    async def data(self, content: bytes) -> None:
        """From the pod."""
        await self._socket.send_bytes(bytes([self._channel]) + content)

    async def over(self, error: str) -> None:
        """No more comes."""
        if error:
            await self._socket.send_bytes(bytes([self._channel + 1]) + error.encode())


class _Pair:
    """Two SPDY streams."""

    def __init__(self, socket: WebSocket, data: int, error: int) -> None:
        self._socket, self._data, self._error = socket, data, error

    async def data(self, content: bytes) -> None:
        """From the pod."""
        await self._socket.send_bytes(spdy.data(self._data, content))

    async def over(self, error: str) -> None:
        """No more comes."""
        if error:
            await self._socket.send_bytes(spdy.data(self._error, error.encode()))
        ends = spdy.data(self._data, b"", final=True) + spdy.data(self._error, b"", final=True)
        await self._socket.send_bytes(ends)


class _Connection:
    """One connection to a pod. The socket is read on while it is made."""

    def __init__(self, out: _Channel | _Pair, ip: str, port: int) -> None:
        self._out, self._ip, self._port = out, ip, port
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(WAITING_LIMIT)
        self._task = asyncio.create_task(self._run())

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    async def give(self, content: bytes) -> None:
        """From the client; nothing: it sends no more."""
        if not self._task.done():
            put = asyncio.ensure_future(self._waiting.put(content))
            await asyncio.wait({put, self._task}, return_when=asyncio.FIRST_COMPLETED)
            put.cancel()

    async def wait(self) -> None:
        """Until it has ended."""
        await asyncio.wait({self._task})

    async def end(self) -> None:
        """The client has gone."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        error = ""
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(self._ip, self._port), CONNECT_S)
        except (OSError, TimeoutError, OverflowError) as failure:
            error = f"{self._ip}:{self._port}: {failure or 'no answer'}. Does the pod listen on that port?"
        else:
            sending = asyncio.create_task(self._send(writer))
            try:
                while content := await reader.read(CHUNK_BYTES):
                    await self._out.data(content)
            except OSError as failure:
                error = f"{self._ip}:{self._port}: {failure}"
            except (WebSocketDisconnect, RuntimeError):
                return
            finally:
                sending.cancel()
                writer.close()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self._out.over(error)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await self._waiting.get():
                writer.write(content)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
