"""`modelport up`: the platform on this machine, in this terminal or detached."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import random
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modelport.cli import Mistake, credentials, home, hush, readiness, serving_pair
from modelport.cli.home import note
from modelport.cli.install_service import install

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.local.folder import Folder, Settings

FIRST_PORT, LAST_PORT = 8080, 8179
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - to be told apart
PODS_PORTS = (8080, 8081)
"""Where models listen, each at an address of its own: whoever binds all addresses takes them away."""
SOCKET_LIMIT = 107 if sys.platform == "linux" else 103
"""Most bytes of a Unix socket's path."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
START_LIMIT_S = 120.0
CORRECTED_S = 5.0
"""So long at most may services be called Ready that were so before the platform was killed."""

DESCRIPTION = """\
Starts the platform: KServe's API on this machine, models as processes, one address for their requests. It keeps its
state in --dir; stopped and started again, it serves what it served before.
"""


def register(commands: Commands) -> None:
    """Adds the command."""
    up = commands.add_parser("up", help="start the platform on this machine", description=DESCRIPTION)
    up.set_defaults(command=run)
    home.add_dir(up)
    up.add_argument("--detach", action="store_true", help="return once it runs; `modelport down` stops it")
    up.add_argument(
        "--port", type=int, metavar="N", help="where requests come in (default: the next free one from 8080)"
    )
    up.add_argument("--host", help="address to bind (default 127.0.0.1); others need TLS and keys")
    up.add_argument(
        "--tls-certificate", metavar="FILE", help="PEM certificate chain; read again when it changes"
    )
    up.add_argument("--tls-key", metavar="FILE", help="PEM private key")
    up.add_argument(
        "--access-log",
        metavar="FILE",
        help="append a JSON line a request; kept for later starts, until --access-log '' ends it",
    )
    up.add_argument(
        "--insecure", action="store_true", help="bind --host without TLS and keys: whoever reaches it may ask"
    )
    up.add_argument(
        "--install-service",
        action="store_true",
        help="have systemd start it with the machine (as root) or with your first login, and at once",
    )
    up.add_argument(
        "--mirror",
        action="append",
        default=[],
        metavar="FROM=TO",
        help="fetch URIs that begin with FROM from TO, as in gs://kfserving-examples/=file:///srv/; repeatable",
    )


def run(options: argparse.Namespace) -> int:
    """Starts it; in the foreground, stops it at the end."""
    from modelport.local.supervisor import AlreadyRunning, PortTaken, Supervisor

    folder = home.folder(options)
    if not folder.settings_file.exists():
        home.refuse_orphans(folder)
        _sockets_fit(folder)
    mirrors = _mirrors(options.mirror)
    if (pid := _running(folder)) is not None:
        settings = home.settings(options)
        if options.install_service:
            raise Mistake(
                f"--install-service: the platform in {folder.path} runs already (pid {pid})",
                "stop it first, so that systemd can start it: modelport down",
            )
        _as_it_runs(options, folder, settings, pid)
        note(f"The platform in {folder.path} runs already (pid {pid}).")
        if options.access_log is not None and settings.access_log != _access_log(options, settings):
            raise Mistake(
                f"--access-log: the platform in {folder.path} runs already, with {settings.access_log or 'none'}",
                "stop it first: modelport down · then modelport up --access-log FILE",
                code=1,
            )
        if mirrors:
            home.speak(options, lambda client: _keep_mirrors(client, mirrors))
        announce(folder, settings)
        return 0
    settings = _choose(options, folder)
    if options.install_service:
        # The other flags are kept in the folder.
        flags = [f"--mirror={pair}" for pair in options.mirror]
        install(folder.path, [*flags, "--insecure"] if options.insecure else flags)
        return 0
    credentials.make(folder, settings)
    if options.detach:
        _detached(folder)
        try:
            _await_ready(folder, options, mirrors)
        except KeyboardInterrupt:
            note(f"\nIt goes on starting. Stop it: modelport down{home.dir_flag(options)}")
            raise
        announce(folder, settings)
        return 0
    try:
        supervisor = Supervisor(folder, settings)
        supervisor.prepare()
    except AlreadyRunning as error:
        raise Mistake(f"the platform in {folder.path} runs already (pid {error})") from error
    except PortTaken as error:
        raise _taken(error) from error
    supervisor.run(lambda: _tell_when_ready(folder, settings, options, mirrors))
    return 0


def _sockets_fit(folder: Folder) -> None:
    """A Mistake where the folder's name leaves no room for those of the sockets in it."""
    over = len(os.fsencode(folder.fork_socket(""))) - SOCKET_LIMIT
    if over > 0:
        raise Mistake(
            f"--dir: {folder.path} is {over} byte{'s' if over > 1 else ''} too long: programs meet at sockets in it, whose whole names the system bounds",
            "choose a shorter one; a short symbolic link to it will do",
        )


def announce(folder: Folder, settings: Settings) -> None:
    """Says where the platform is and what to do next."""
    scheme = "https" if settings.tls_certificate else "http"
    home_flag = home.flag_of(folder.path)
    print(f"gateway     {scheme}://{home.with_port(settings.host, settings.gateway_port)}")
    print(f"kubeconfig  {folder.kubeconfig}")
    print(f"folder      {folder.path}", flush=True)  # a pipe's reader need not wait for the end
    note(f"\nNext: modelport deploy ./model.joblib{home_flag}\nStop: modelport down{home_flag}")


def _running(folder: Folder) -> int | None:
    import fcntl

    from modelport.local import process

    if not folder.run.is_dir():
        return None
    with (folder.run / "supervisor.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = process.read(folder.run / "supervisor.json")
            return found.pid if found else 0
    return None


def _as_it_runs(options: argparse.Namespace, folder: Folder, settings: Settings, pid: int) -> None:
    """A Mistake where a flag asks for something else than what runs: it would have no effect."""
    asked = {
        "--host": (options.host, settings.host),
        "--port": (options.port, settings.gateway_port),
        "--tls-certificate": (_absolute(options.tls_certificate), settings.tls_certificate),
        "--tls-key": (_absolute(options.tls_key), settings.tls_key),
        "--insecure": (False if options.insecure else None, settings.require_keys),
    }
    for flag, (given, runs) in asked.items():
        if given is not None and given != runs:
            value = "" if flag == "--insecure" else f" {given}"
            raise Mistake(
                f"{flag}{value}: the platform in {folder.path} runs already (pid {pid}), with other settings",
                f"stop it first, nothing that was applied is lost: modelport down{home.dir_flag(options)}",
            )


def _absolute(file: str | None) -> str | None:
    return file and str(Path(file).absolute())


def _choose(options: argparse.Namespace, folder: Folder) -> Settings:
    from modelport.local.folder import Settings

    try:
        known = folder.settings()
    except ValueError as error:
        raise Mistake(str(error)) from error
    host = options.host or (known.host if known else "127.0.0.1")
    if bool(options.tls_certificate) != bool(options.tls_key):
        raise Mistake("--tls-certificate and --tls-key go together", "give both, or neither")
    certificate, key = options.tls_certificate, options.tls_key
    if certificate is None and known is not None:
        certificate, key = known.tls_certificate, known.tls_key
    if certificate is not None and key is not None:
        serving_pair.check(certificate, key, time.time())
    if host not in LOOPBACK and not options.insecure and certificate is None:
        raise Mistake(
            f"--host {host}: others would reach it without TLS",
            "give --tls-certificate and --tls-key (requests then need a key: docs/how-to/access.md), or --insecure",
        )
    if options.port is not None and not 1 <= options.port <= 65535:
        raise Mistake(f"--port: must be a port, 1 to 65535, got {options.port}")
    if host in EVERYWHERE and (options.port or (known and known.gateway_port)) in PODS_PORTS:
        port = options.port or (known and known.gateway_port)
        raise Mistake(
            f"--port {port}: models listen on ports 8080 and 8081 of addresses of their own, and --host {host} would "
            "take that port on all of them",
            f"choose another port, as in --port {PODS_PORTS[-1] + 1}, or one address: --host ADDRESS",
        )
    settings = Settings(
        gateway_port=options.port or (known.gateway_port if known else _free_port(host)),
        api_port=known.api_port if known else _any_port(),
        pod_network=known.pod_network if known else _free_network(),
        host=host,
        tls_certificate=_absolute(certificate),
        tls_key=_absolute(key),
        require_keys=host not in LOOPBACK and not options.insecure,
        access_log=_access_log(options, known),
    )
    _is_free(folder, settings)
    try:
        folder.make()
    except OSError as error:
        raise Mistake(f"--dir: {folder.path} cannot be written: {error.strerror}") from error
    folder.keep(settings)
    return settings


def _access_log(options: argparse.Namespace, known: Settings | None) -> str | None:
    """The file as given, else as it was. A Mistake where it cannot be written."""
    from modelport.local.folder import try_to_append

    if options.access_log is None:
        return known.access_log if known else None
    if not options.access_log:
        return None
    path = Path(options.access_log).expanduser().absolute()
    try:
        try_to_append(path)
    except OSError as error:
        raise Mistake(f"--access-log: {path} cannot be written: {error.strerror}") from error
    return str(path)


def _is_free(folder: Folder, settings: Settings) -> None:
    """A Mistake where somebody else listens on the gateway's port. Asked before anything is kept or started."""
    from modelport.local import process
    from modelport.local.supervisor import PortTaken, bind

    gateway = process.read(folder.run / "gateway.json")
    if gateway is not None and gateway.alive:
        return  # ours: it hands its sockets over
    try:
        bind(settings.host, settings.gateway_port).close()
    except PortTaken as error:
        raise _taken(error) from error


def _taken(error: Exception) -> Mistake:
    return Mistake(f"--port: {error}", "stop what listens there, or choose another: modelport up --port N")


def _free_port(host: str) -> int:
    for port in range(PODS_PORTS[-1] + 1 if host in EVERYWHERE else FIRST_PORT, LAST_PORT + 1):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno in (errno.EADDRINUSE, errno.EACCES):
                    continue
                raise Mistake(f"--host: {host} is no address of this machine") from error
            return port
    raise Mistake(
        f"all ports from {FIRST_PORT} to {LAST_PORT} are in use", "choose one: modelport up --port N"
    )


def _free_network() -> str:
    """The first two octets of the pods' addresses: no other platform's that runs now, for their pods would meet."""
    taken: set[int] = set()
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            word = int(line.split()[1].partition(":")[0], 16)
            address = word.to_bytes(4, sys.byteorder)  # as it lies in the kernel's memory
            if address[0] == 127:
                taken.add(address[1])
    free = [octet for octet in range(16, 251) if octet not in taken]
    return f"127.{random.SystemRandom().choice(free or range(16, 251))}"


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _mirrors(pairs: list[str]) -> dict[str, str]:
    mirrors: dict[str, str] = {}
    for pair in pairs:
        source, equals, target = pair.partition("=")
        if not (source and equals and target):
            raise Mistake(
                f"--mirror: must be FROM=TO, got {pair!r}", "as in gs://models/=file:///srv/models/"
            )
        mirrors[source] = target
    return mirrors


async def _keep_mirrors(client: object, mirrors: dict[str, str]) -> None:
    from modelport.kube.client import Client
    from modelport.kube.resource import CONFIG_MAP

    assert isinstance(client, Client)  # noqa: S101 - for the type checker
    await client.apply(
        CONFIG_MAP,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "modelport-config", "namespace": "kserve"},
            "data": {"mirrors": msgspec.json.encode(mirrors).decode()},
        },
        field_manager="modelport-up",
    )


def _detached(folder: Folder) -> None:
    log = folder.logs / "supervisor.log"
    with log.open("ab") as out:
        subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "modelport.local.supervisor", "--dir", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        ).returncode = 0  # it is to outlive this command


def _await_ready(folder: Folder, options: argparse.Namespace, mirrors: dict[str, str]) -> None:
    until = time.monotonic() + START_LIMIT_S
    began, started = time.monotonic(), time.time()
    missing = "the supervisor"
    pause = threading.Event()
    while time.monotonic() < until:
        missing = readiness.missing_part(folder)
        if missing is None:
            corrected_by = time.monotonic() + CORRECTED_S
            while readiness.is_of_before(folder) and time.monotonic() < corrected_by:
                pause.wait(0.05)
            if mirrors:
                home.speak(options, lambda client: _keep_mirrors(client, mirrors))
            return
        if time.monotonic() - began > 2.0 and (_running(folder) is None or home.is_full(folder)):
            break
        pause.wait(0.05)
    if home.is_full(folder):
        raise Mistake(
            f"the platform does not start: the disk that holds {folder.path} is full",
            "free some space there, or choose another folder: modelport up --dir DIR",
            code=1,
        )
    if readiness.stopped_since(folder, started):
        raise Mistake(
            f"the platform in {folder.path} was stopped while it started",
            f"somebody ran modelport down; start it again: modelport up --detach{home.dir_flag(options)}",
            code=1,
        )
    lines = "\n".join(readiness.last_lines(folder))
    raise Mistake(f"the platform does not start: {missing} does not answer\n{lines}", f"logs: {folder.logs}")


def _tell_when_ready(
    folder: Folder, settings: Settings, options: argparse.Namespace, mirrors: dict[str, str]
) -> None:
    def tell() -> None:
        try:
            _await_ready(folder, options, mirrors)
        except Mistake as mistake:
            note(f"error: {mistake}\n\nhint: {mistake.hint}")
            return
        try:
            announce(folder, settings)
        except BrokenPipeError:  # `modelport up | head -1`: it runs on
            hush()

    note(f"modelport {version('modelport')}: starting the platform in {folder.path}")
    threading.Thread(target=tell, daemon=True, name="tell").start()
