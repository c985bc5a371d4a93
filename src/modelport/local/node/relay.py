"""A pod's network: a namespace of its own, and connections carried in and out. A program, one a pod that needs it.

Commands that were made for containers listen on 0.0.0.0:8080 and ask `iris-predictor.default` on port 80. In here they
are alone, so both work: what comes to the pod's address outside is carried in, and what goes to any Service's name is
carried to the gateway, which knows them all. A port is open outside while somebody listens on it inside: whoever
connects, a probe say, finds what it would find in a container. A socket belongs to the namespace of the thread that
made it, so one thread that has left for the new namespace makes the inner sockets, and one event loop serves them all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

SERVICES = "127.0.0.2"
"""Where names of Services lead, inside."""
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
CHUNK = 256 << 10
BACKLOG = 1024
FIRST_LOOK_S, LAST_LOOK_S = 0.02, 0.5
"""Between two looks whether somebody listens inside."""
LISTENS = "0A"
"""As /proc/net/tcp calls it."""
OWN = f"{struct.unpack('=I', socket.inet_aton(SERVICES))[0]:08X}"
"""Where the relay itself listens inside, in the same words."""


class Identity(msgspec.Struct):
    """What a relay writes down once it carries."""

    pid: int
    start: int
    network: str
    """File of the network namespace."""
    user: str = ""
    """File of the user namespace that it belongs to, where it has one of its own."""


def become_root_inside() -> None:
    """A user namespace in which this user is root, so that others may be made without being it outside. OSError.

    For a process with one thread.
    """
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "a user namespace")
    me = Path("/proc/self")
    (me / "setgroups").write_text("deny")
    (me / "uid_map").write_text(f"0 {user} 1")
    (me / "gid_map").write_text(f"0 {group} 1")


def _leave() -> None:
    """This thread gets a network of its own, with a loopback in it."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "a network namespace")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def _bind(host: str, port: int) -> socket.socket:
    """A socket that does not listen yet: whoever connects is refused."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    bound.setblocking(False)
    return bound


def _listening(tid: int) -> set[int]:
    """Ports that somebody listens on in the network of a thread of this process."""
    found: set[int] = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/task/{tid}/net/{name}").read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                address, _, port = local.partition(":")
                if state == LISTENS and address != OWN:
                    found.add(int(port, 16))
    return found


async def _until_listening(tid: int, port: int) -> None:
    pause_s = FIRST_LOOK_S
    while port not in _listening(tid):
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.05, LAST_LOOK_S)


def _connect(hosts: tuple[str, ...], port: int) -> socket.socket:
    error: OSError = ConnectionRefusedError()
    for host in hosts:
        try:
            found = socket.create_connection((host, port), timeout=5.0)
        except OSError as refused:
            error = refused
            continue
        found.setblocking(False)
        return found
    raise error


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, other: socket.socket) -> None:
    there, back = await asyncio.open_connection(sock=other)
    try:
        await asyncio.gather(_pump(reader, back), _pump(there, writer))
    finally:
        for end in (writer, back):
            end.close()


def _sign(identity: Path, tid: int, *, user: bool) -> None:
    start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    me = f"/proc/{os.getpid()}"
    known = Identity(os.getpid(), start, f"{me}/task/{tid}/ns/net", f"{me}/ns/user" if user else "")
    text = msgspec.json.encode(known)
    temporary = identity.with_name(f".{identity.name}")
    temporary.write_bytes(text)
    temporary.replace(identity)


async def run(
    ip: str, ports: list[int], gateway: tuple[str, int], identity: Path, *, user: bool = False
) -> None:
    """Carries until SIGTERM. `user`: this process is in a user namespace of its own."""
    loop = asyncio.get_running_loop()
    inside = ThreadPoolExecutor(1, "inside", _leave)
    tid = await loop.run_in_executor(inside, threading.get_native_id)
    outer = {port: _bind(ip, port) for port in ports}
    inner = await loop.run_in_executor(inside, _bind, SERVICES, 80)

    async def offer(port: int, bound: socket.socket) -> None:
        refused = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                other = await loop.run_in_executor(inside, _connect, ("127.0.0.1", ip), port)
            except OSError as error:
                writer.transport.abort()
                if isinstance(error, ConnectionRefusedError):
                    refused.set()  # it has just ended
                return
            await _carry(reader, writer, other)

        while True:
            await _until_listening(tid, port)
            refused.clear()
            server = await asyncio.start_server(handle, sock=bound, backlog=BACKLOG, limit=CHUNK)
            await refused.wait()
            server.close()
            bound = _bind(ip, port)

    async def out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other = await asyncio.to_thread(_connect, (gateway[0],), gateway[1])
        except OSError:
            writer.transport.abort()
            return
        await _carry(reader, writer, other)

    offers = [asyncio.create_task(offer(port, bound)) for port, bound in outer.items()]
    await asyncio.start_server(out, sock=inner, backlog=BACKLOG, limit=CHUNK)
    _sign(identity, tid, user=user)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await asyncio.wait([asyncio.create_task(stop.wait()), *offers], return_when=asyncio.FIRST_COMPLETED)
    for task in offers:
        if task.done():
            task.result()  # it ends by an error alone


def main() -> int:
    """`python -m modelport.local.node.relay --ip IP --ports N,M --gateway HOST:PORT --identity FILE [--user]`."""
    parser = argparse.ArgumentParser(prog="modelport.local.node.relay")
    parser.add_argument("--ip", required=True)
    parser.add_argument("--ports", required=True)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--identity", type=Path, required=True)
    parser.add_argument("--user", action="store_true", help="without being root: in a user namespace")
    options = parser.parse_args()
    host, _, port = options.gateway.rpartition(":")
    ports = [int(p) for p in options.ports.split(",") if p]
    try:
        if options.user:
            become_root_inside()
        asyncio.run(run(options.ip, ports, (host, int(port)), options.identity, user=options.user))
    except OSError as error:
        sys.stderr.write(f"the pod's network: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
