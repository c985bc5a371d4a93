"""One API server for all tests of this folder; each test has a namespace of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from apiserver_api import Api, Server, good


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("apiserver"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., Any]:
    """`with fresh(keep_rows=10) as server:` a server of the test's own."""

    @contextmanager
    def start(**options: Any) -> Iterator[Server]:
        running = Server(tmp_path, **options)
        running.start()
        try:
            yield running
        finally:
            running.stop()

    return start


_numbers = itertools.count()


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    with server.client() as http:
        namespace = f"test-{next(_numbers)}"
        good(http.post("/api/v1/namespaces", json={"metadata": {"name": namespace}}), 201)
        yield Api(server, http, namespace)
