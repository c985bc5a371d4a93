"""The models of one worker process: loading, unloading, reloading, and saying so to its siblings.

Whoever is asked does it, then has its siblings do it, one order at a time for all of them. The supervisor hears
of each order too, and tells those who missed it, such as a process that was just starting.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from modelport.protocol.errors import HTTPError, InferenceError, InvalidInput, ModelNotFound, ServeError
from modelport.server.courtesy import aside
from modelport.server.options import Plan, Source
from modelport.server.runtime import LoadError
from modelport.server.servable import Servable, put

if TYPE_CHECKING:
    from modelport import _dataplane

log = logging.getLogger("modelport")

Load = Callable[[Source], Servable]
"""Loads a model; passed in, since this room knows no framework. Raises LoadError."""
Find = Callable[[str], list[Source]]
"""The sources of a model of the repository folder, a version each, found anew; empty if there is none."""

Fingerprint = tuple[tuple[str, int, int, int], ...]
Asked = dict[str, tuple[bool, int]]
"""What the API asked for last: whether a model is to be served, and when, in `monotonic_ns`, of all processes."""

LOCAL = "modelport_local"
"""Load and unload parameter, the time of the order: this process alone; its siblings are told by whoever asked."""
GONE_WITHIN_S = 10.0
"""A sibling that has ended is reaped long before; one that does not answer for so long has something else."""


class Repository:
    """What this process serves, by name. Its `load` and `unload` answer the repository API."""

    def __init__(self, plan: Plan, load: Load, find: Find, names: Callable[[], Iterable[str]]) -> None:
        self._plan = plan
        self._load = load
        self._find = find
        self._names = names
        self._server: _dataplane.Server | None = None
        self._served: dict[str, dict[str | None, Servable]] = {}
        self._states: dict[str, tuple[str, str]] = {}
        self._fingerprints: dict[Source, Fingerprint | None] = {}
        self._lock = threading.Lock()
        self._peers: list[str] = []
        self.changed: Callable[[Asked], None] = lambda asked: None
        """Told after each change."""
        self._asked: Asked = {}
        self._told: Asked = {}

    def attach(self, server: _dataplane.Server) -> None:
        """Serves by this server from now on."""
        self._server = server

    def start(self, asked: Asked) -> Iterable[Servable]:
        """Loads the plan's models, and those that the API has asked for since; yields each. Raises LoadError."""
        self._asked = dict(asked)
        for source in self._plan.sources:
            if self._asked.get(source.name, (True, 0))[0]:
                yield self._put(source)
        planned = {source.name for source in self._plan.sources}
        for name, (wanted, _) in self._asked.items():
            if wanted and name not in planned:
                for source in self._find(name):
                    yield self._put(source)
        self._publish()

    def set_peers(self, sockets: list[str]) -> None:
        """The control sockets of the sibling processes."""
        self._peers = sockets
        self._need().set_peers(sockets)

    def catch_up(self, asked: Asked) -> None:
        """Does what was asked of siblings while this process could not hear it."""
        for name, (wanted, when) in asked.items():
            try:
                (self._load_here if wanted else self._unload_here)(name, when)
            except ModelNotFound:
                self._asked[name] = (wanted, when)
            except ServeError as error:
                log.error("%s", error)

    def load(self, name: str, parameters: dict[str, bool | int | float | str]) -> None:
        """Loads a model, or loads it anew; the old one serves until the new one can."""
        self._obey(name, "load", parameters, self._load_here)

    def unload(self, name: str, parameters: dict[str, bool | int | float | str]) -> None:
        """Stops serving a model once what waits for it is answered."""
        self._obey(name, "unload", parameters, self._unload_here)

    def _obey(
        self,
        name: str,
        verb: str,
        parameters: dict[str, bool | int | float | str],
        act: Callable[[str, int], None],
    ) -> None:
        if LOCAL in parameters:
            act(name, int(parameters[LOCAL]))
            return
        with self._turn():
            when = time.monotonic_ns()
            act(name, when)
            self._tell(name, verb, when)

    @contextlib.contextmanager
    def _turn(self) -> Generator[None]:
        """One order at a time among all siblings, so that they end up alike. It ends with the process that has it."""
        peers = self._peers
        if not peers:
            yield
            return
        with Path(peers[0]).with_name("orders.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _is_done(self, name: str, when: int) -> bool:
        """Whether this order, or a later one, has been carried out here."""
        return when <= self._asked.get(name, (True, 0))[1]

    def _load_here(self, name: str, when: int) -> None:
        with self._lock:
            if self._is_done(name, when):
                return
            sources = self._sources(name)
            if not sources:
                raise ModelNotFound(name)
            try:
                for source in sources:
                    self._put(source)
            except LoadError as error:
                self._states[name] = ("UNAVAILABLE", str(error))
                self._publish()
                # As KServe has it; a model of before may still be served.
                raise HTTPError(503, f"Model with name {name} cannot be loaded: {error}") from error
            versions = {source.version for source in sources}
            for gone in [version for version in self._served.get(name, {}) if version not in versions]:
                self._drop(name, gone)
            self._asked[name] = (True, when)
            self._publish()

    def _unload_here(self, name: str, when: int) -> None:
        with self._lock:
            if self._is_done(name, when):
                return
            if name not in self._served:
                raise ModelNotFound(name)
            for version in list(self._served[name]):
                self._drop(name, version)
            self._asked[name] = (False, when)
            self._publish()

    def reload(self, source: Source) -> str:
        """Loads a changed artifact; returns what was found. Raises LoadError: then the old one serves on."""
        with self._lock:
            try:
                report = self._put(source).report
            except LoadError as error:
                self._states[source.name] = ("UNAVAILABLE", str(error))
                raise
            finally:
                self._publish()
            return report.partition("\n")[0]

    def loaded_from(self, source: Source) -> Fingerprint | None:
        """What the artifact looked like when its loading began."""
        return self._fingerprints.get(source)

    def refresh(self) -> None:
        """Looks again what there is to load."""
        with self._lock:
            self._publish()

    def served(self) -> list[Source]:
        """The sources of what is served now."""
        with self._lock:
            return [source for name in self._served for source in self._sources(name)]

    def _sources(self, name: str) -> list[Source]:
        planned = [source for source in self._plan.sources if source.name == name]
        return self._find(name) or planned

    def _put(self, source: Source) -> Servable:
        self._fingerprints[source] = fingerprint(source)
        # Threads that a class, or a framework with several, starts here serve later: they keep their full share.
        alone = self._plan.model.threads == 1 and ".py:" not in source.path
        servable = aside(lambda: self._load(source), lower=alone)
        put(self._need(), servable, self._plan.model)
        versions = self._served.setdefault(source.name, {})
        old = versions.get(source.version)
        versions[source.version] = servable
        self._states[source.name] = ("READY", "")
        _close(old)
        return servable

    def _drop(self, name: str, version: str | None) -> None:
        servable = self._served[name].pop(version)
        self._need().remove(name, version)
        if not self._served[name]:
            del self._served[name]
            self._states[name] = ("UNAVAILABLE", "unloaded")
        _close(servable)

    def _publish(self) -> None:
        rows: list[tuple[str, str, str, str]] = []
        for name in sorted({*self._served, *self._states, *self._names()}):
            state, reason = self._states.get(name, ("UNAVAILABLE", "not loaded"))
            versions = self._served.get(name)
            if versions and state != "READY":  # the old one serves on where a new one failed
                rows.extend((name, version or "", "READY", reason) for version in versions)
            else:
                rows.extend((name, version or "", state, reason) for version in (versions or {None: None}))
        self._need().set_index(rows)
        if self._asked != self._told:
            self._told = dict(self._asked)
            self.changed(dict(self._asked))

    def _tell(self, name: str, verb: str, when: int) -> None:
        failures = [
            failure
            for peer in self._peers
            if (failure := _order(peer, f"/v2/repository/models/{quote(name, safe='')}/{verb}", when))
        ]
        if failures:
            raise InferenceError(
                f"{verb} of {name} failed in {len(failures)} worker processes: {failures[0]}"
            )

    def _need(self) -> _dataplane.Server:
        if self._server is None:
            raise RuntimeError("attach() comes first")
        return self._server


def _order(peer: str, path: str, when: int) -> str:
    """Has a sibling do the same; why it did not, or nothing.

    One that ends meanwhile is replaced by one that knows what was asked for: it is asked again until its socket is
    gone, which the supervisor sees to. An order that came twice is carried out once.
    """
    until = time.monotonic() + GONE_WITHIN_S
    while True:
        try:
            _post(peer, path, when)
        except ServeError as error:
            return str(error)
        except (OSError, http.client.HTTPException) as error:
            if not Path(peer).exists():
                return ""
            if time.monotonic() > until:
                return str(error)
            time.sleep(0.02)
        else:
            return ""


def _close(servable: Servable | None) -> None:
    if servable is None:
        return
    servable.is_retired = True
    if servable.close is not None:
        servable.close()


def fingerprint(source: Source) -> Fingerprint | None:
    """Changes when the artifact's files do; None while there is none."""
    path = Path(source.path.partition(".py:")[0] + ".py" if ".py:" in source.path else source.path)
    try:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        stats = [(file, file.stat()) for file in files if not file.is_dir()]
    except OSError:
        return None
    return tuple((str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino) for file, stat in stats) or None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=600)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _post(path: str, target: str, when: int) -> None:
    connection = _UnixConnection(path)
    try:
        connection.request("POST", target, body=json.dumps({"parameters": {LOCAL: when}}))
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        if response.status == 400:
            raise InvalidInput(text)
        if response.status not in (200, 404):  # 404: unloaded there already
            raise InferenceError(text)
    finally:
        connection.close()
