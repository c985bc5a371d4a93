"""Modules that frameworks import and hardly any model asks for: they are there, and run when something in them is first
asked for.

`import scipy.sparse` imports all of NumPy, with its test tools and its compiler for Fortran: megabytes in every process
that serves, and some of a start's time. Here such a module is found and made as ever, which is all that an `import`
needs; its code runs when an attribute is looked up that it does not have yet. Only for modules that others name as a
whole, for `from module import name` asks at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

UNASKED = ("numpy.f2py", "numpy.testing", "scipy.stats._mstats_basic", "scipy.stats.mstats")
"""What NumPy and SciPy name and scikit-learn never looks into."""
_OF_IMPORT = frozenset({"__path__", "__file__", "__wrapped__", "__warningregistry__"})
"""What the import system, `inspect` and `warnings` ask any module for, whether it has it or not."""
_turn = threading.RLock()


@contextmanager
def put_off(names: Collection[str] = UNASKED) -> Generator[None]:
    """Modules of these names that are imported meanwhile run when they are first asked for something."""
    finder = _Finder(frozenset(names))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def is_put_off(name: str) -> bool:
    """Whether a module is imported, and has not run yet."""
    return type(sys.modules.get(name)) is _Later


class _Later(ModuleType):
    """A module that has not run."""

    def __getattr__(self, name: str) -> Any:
        if name in _OF_IMPORT or not _run(self):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(self, name)

    def __dir__(self) -> list[str]:
        _run(self)
        return sorted(self.__dict__)


def _run(module: ModuleType) -> bool:
    """Runs a module that was put off; False where half of it has run, and this is what it does."""
    with _turn:  # another thread may run it just now
        if type(module) is _Later:
            loader = module.__spec__.loader if module.__spec__ else None
            if not isinstance(loader, _Loader) or loader.running:
                return False
            loader.run(module)
        return True


class _Loader:
    """A loader, and below a finder, as `importlib.abc` describes them, which half a megabyte of imports would bring."""

    def __init__(self, real: SourceFileLoader) -> None:
        self._real = real
        self.running = False

    def create_module(self, _: ModuleSpec) -> ModuleType | None:
        return None  # made as ever

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _Later

    def run(self, module: ModuleType) -> None:
        self.running = True
        try:
            self._real.exec_module(module)
            module.__class__ = ModuleType
        finally:
            self.running = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)  # `get_source` and the like


class _Finder:
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        spec.loader = cast("Loader", _Loader(spec.loader))
        return spec
