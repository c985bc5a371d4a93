"""Probes: HTTP, TCP, commands, gRPC health. Each says None for success, or what went wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.kube.part import objects, texts
from modelport.kube.resource import Object
from modelport.local import enter
from modelport.local.node import grpc_health

if TYPE_CHECKING:
    from ssl import SSLContext

ENTER = Path(enter.__file__)
NOBODY = "nothing listens on port"


async def ask(
    probe: Object, container: Object, address: str, environment: dict[str, str], pid: int
) -> str | None:
    """One attempt, within the probe's timeout. `pid`: the container's process, beside which commands run."""
    timeout_s = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(timeout_s):
            if "httpGet" in probe:
                return await http(probe["httpGet"], container, address)
            if "tcpSocket" in probe:
                return await _tcp(probe["tcpSocket"], container, address)
            if "exec" in probe:
                return await command(texts(probe["exec"].get("command")), environment, pid)
            if "grpc" in probe:
                given = probe["grpc"]
                return await grpc_health.check(
                    address, port_of(given["port"], container), given.get("service") or ""
                )
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except ConnectionRefusedError:
        return f"{NOBODY} {port_asked(probe, container) or 'asked'} of {address}"
    except (OSError, EOFError, ValueError) as error:
        return str(error) or type(error).__name__
    return "the probe has no handler"


def port_of(given: object, container: Object) -> int:
    """A port by number or by name. ValueError."""
    if isinstance(given, int):
        return given
    for port in objects(container.get("ports")):
        if port.get("name") == given:
            return int(port["containerPort"])
    if isinstance(given, str) and given.isdecimal():
        return int(given)
    raise ValueError(f"container {container['name']} has no port {given!r}")


def port_asked(probe: Object, container: Object) -> int | None:
    """The port of the pod's own address that a probe asks; None for one that asks elsewhere, or nobody."""
    for kind in ("httpGet", "tcpSocket", "grpc"):
        given = probe.get(kind)
        if given is not None and not given.get("host"):
            return port_of(given.get("port", 80), container)
    return None


async def http(get: Object, container: Object, address: str) -> str | None:
    """GET; a status from 200 to 399 is success."""
    port = port_of(get.get("port", 80), container)
    host = get.get("host") or address
    reader, writer = await asyncio.open_connection(host, port, ssl=_tls(get))
    try:
        path = get.get("path") or "/"
        given = [(str(one["name"]), str(one.get("value") or "")) for one in objects(get.get("httpHeaders"))]
        named = {name.lower() for name, _ in given}
        usual = [("Host", f"{host}:{port}"), ("User-Agent", "kube-probe/modelport"), ("Accept", "*/*")]
        headers = [*(one for one in usual if one[0].lower() not in named), ("Connection", "close"), *given]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        await writer.drain()
        line = await reader.readline()
        words = line.split(maxsplit=2)
        if len(words) < 2 or not words[1].isdigit():
            return f"HTTP probe of {path}: {line!r} is no answer"
        status = int(words[1])
        if 200 <= status < 400:
            return None
        rest = b""
        while len(rest) < 16_384 and (block := await reader.read(4096)):
            rest += block
        said = " ".join(rest.partition(b"\r\n\r\n")[2].decode(errors="replace").split())
        if said.startswith("<"):
            said = ""  # a page for browsers, whose first lines say nothing
        return f"HTTP probe of {path} failed with statuscode: {status} {said[:200]}".strip()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _tls(get: Object) -> SSLContext | None:
    """As in Kubernetes, a probe does not ask whose certificate it is."""
    if str(get.get("scheme") or "").upper() != "HTTPS":
        return None
    import ssl  # late: few probes need it

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _tcp(socket: Object, container: Object, address: str) -> str | None:
    port = port_of(socket.get("port"), container)
    _, writer = await asyncio.open_connection(socket.get("host") or address, port)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None


async def command(words: list[str], environment: dict[str, str], pid: int) -> str | None:
    """A command where the container's process is: its namespaces, its folder. Exit code 0 is success."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", str(ENTER), str(pid)),
        *words,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode == 0:
        return None
    text = said.decode(errors="replace")[-300:].strip()
    return f"command exited with {process.returncode}" + (f": {text}" if text else "")
