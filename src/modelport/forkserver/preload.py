"""What children share: the libraries that this process has imported, held where the garbage collector leaves them."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import logging
import os
import sys
from pathlib import Path

import modelport
from modelport.forkserver import release

log = logging.getLogger(__name__)

SERVER = (
    "modelport.cli.serve",
    # Which it imports once it runs.
    "modelport.cli.colour",
    "modelport.cli.fetch",
    "modelport.cli.home",
    "modelport.server.announce",
    "modelport.server.ports",
    "modelport.server.supervisor",
    "modelport.runtimes.source",
    "modelport.server.tensors",
    "encodings.idna",  # getaddrinfo wants it, and its tables are 2 MB
)
"""What `modelport serve` imports before it knows its model."""


class Shared:
    """This interpreter's imports. Imports only: it never loads a model and never predicts."""

    def __init__(self, *, bare: bool) -> None:
        self._bare = bare
        self._has_server = False
        self._frozen = 0

    @property
    def forks(self) -> bool:
        """Whether servers run in forked interpreters; a bare one starts each afresh."""
        return not self._bare

    @property
    def packages(self) -> list[str]:
        """Top-level packages that are imported, without the standard library."""
        top = {name.partition(".")[0] for name in sys.modules}
        return sorted(name for name in top - sys.stdlib_module_names if not name.startswith("_"))

    def server(self) -> None:
        """Imports the server itself."""
        if self._has_server:
            return
        for name in SERVER:
            importlib.import_module(name)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            _ = modelport.__version__  # read once, for all children
        self._has_server = True

    def arguments(self, arguments: list[str]) -> None:
        """Imports the frameworks that `modelport serve` with these arguments needs. What is wrong with them is
        the child's to say, in its own log."""
        from modelport.cli import serve

        plan = serve.plan_of(arguments)
        if plan is not None:
            from modelport.runtimes import source

            source.preload(plan)

    def model(self, path: str) -> None:
        """Imports the framework of a model file or folder, if one knows it."""
        from modelport.runtimes import catalog
        from modelport.server.runtime import LoadError

        try:
            runtime, artifact = catalog.locate(Path(path))
        except (LoadError, OSError):
            return
        self.modules([*runtime.modules, *runtime.needs(artifact)])

    def modules(self, names: list[str]) -> None:
        """Imports modules; one that cannot be imported is left to the child that needs it."""
        from modelport.runtimes import framework

        framework.preload(names)

    def learn(self, names: list[str]) -> None:
        """Imports what a child had to import, if it belongs to packages that are imported here anyway: never a
        user's own module."""
        from modelport.server.supervisor import share

        share(names)

    def settle(self) -> None:
        """Puts what has been imported out of the collector's reach: a collection in a child would write to every
        page that it shares."""
        if len(sys.modules) == self._frozen:
            return
        gc.collect()
        gc.freeze()
        release.file_pages()
        self._frozen = len(sys.modules)
        log.info("pid %d shares %d modules", os.getpid(), self._frozen)
