"""Joblib files and pickles, read at the speed of Python's unpickler in C: the objects that `joblib.load` gives.

joblib writes each array behind the opcodes that make a `NumpyArrayWrapper`, as raw bytes in the middle of the pickle.
Its own reader can stop there because it derives from the unpickler in Python, an opcode a step: that is most of the
time that a random forest takes to load, all of it under the interpreter's lock. The unpickler in C stops there too: a
frame ends before the bytes, and from a file that has no `peek` it reads no byte early. What it does last is to give
the wrapper its state. So a class stands in for joblib's that then reads the array, and has the file say two opcodes
more: drop the wrapper, and take the next buffer, which is the array.

joblib has the last word: what is unusual, and whatever fails, is left to `joblib.load`, and so are all error messages.
"""

from __future__ import annotations

import functools
import io
import logging
import math
import pickle
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelport.runtimes.framework import framework
from modelport.server.courtesy import let_pass

log = logging.getLogger("modelport")

_TAKE_ARRAY: Final = pickle.POP + pickle.NEXT_BUFFER
_BUFFERED_BYTES: Final = 1 << 16
_PIECE_BYTES: Final = 1 << 20
"""How much of an array is read at once, and of what is compressed ahead."""
_SLOW_TO_FREE_BYTES: Final = 1 << 14
_current: Final = threading.local()
"""`file`: what this thread reads. A class made for each file would know its own, but stay until garbage is collected."""


class Unusual(Exception):
    """What joblib itself should read."""


def load(path: Path) -> object:
    """What is in the file, compressed or not. Raises whatever `joblib.load` raises."""
    joblib: Any = framework("joblib", "sklearn")
    try:
        with io.BufferedReader(io.FileIO(path), _BUFFERED_BYTES) as file:
            return read(file)
    except Exception as error:  # noqa: BLE001 - joblib says what is wrong, or reads it after all
        log.debug("%s: left to joblib.load: %r", path, error)
    return joblib.load(path)


def read(file: io.BufferedReader[Any]) -> object:
    """What is in the file. Raises Unusual, and other errors where it is broken, or where joblib has changed."""
    # None of this is public.
    outer: Any = framework("joblib.numpy_pickle", "sklearn")
    inner: Any = framework("joblib.numpy_pickle_utils", "sklearn")
    compression: str = inner._detect_compressor(file)
    if compression == "compat":
        raise Unusual("compressed by joblib before 0.10")
    if compression in outer._COMPRESSORS:
        file = io.BufferedReader(outer._COMPRESSORS[compression].decompressor_file(file), _PIECE_BYTES)
    if file.peek(1)[:1] != pickle.PROTO:
        raise Unusual("a protocol in text, or no pickle")
    before = getattr(_current, "file", None)
    _current.file = source = _File(file, inner._ensure_native_byte_order)
    try:
        found = _Unpickler(source, outer.NumpyArrayWrapper, outer.NDArrayWrapper).load()
    finally:
        _current.file = before
    source.part()
    return found


class _File:
    """A file that says opcodes of its own after an array, and hands the array out."""

    def __init__(self, file: io.BufferedReader[Any], to_native: Any) -> None:
        self._file = file
        self._to_native = to_native
        self._last = b""
        self._said = b""
        self._arrays: list[np.ndarray[Any, Any]] = []
        self._kept: list[np.ndarray[Any, Any]] = []
        self.readinto = file.readinto
        self.readline = file.readline

    def read(self, size: int, /) -> bytes:
        """So many bytes, or fewer at the end."""
        if self._said:
            said, self._said = self._said[:size], self._said[size:]
            return said if len(said) == size else said + self._file.read(size - len(said))
        if size > _SLOW_TO_FREE_BYTES:
            let_pass()
        self._last = read = self._file.read(size)
        return read

    def __iter__(self) -> _File:
        return self

    def __next__(self) -> np.ndarray[Any, Any]:
        if not self._arrays:
            raise StopIteration
        return self._arrays.pop()

    def take(self, state: dict[str, Any]) -> None:
        """Reads the array that a wrapper of this state stands for, and has it take the wrapper's place."""
        if self._last[-1:] != pickle.BUILD or self._said or self._arrays:
            raise Unusual("opcodes were read beyond a wrapper")
        if state["subclass"] not in (np.ndarray, np.memmap):
            raise Unusual(f"an array of class {state['subclass']}")
        if state["dtype"].hasobject:
            array: Any = pickle.Unpickler(self).load()  # noqa: S301 - a pickle in the pickle
        else:
            array = self._raw(state)
        self._arrays.append(array if array.dtype.isnative else self._to_native(array))
        self._said = _TAKE_ARRAY

    def part(self) -> None:
        """Lets go of what was read, a large array at a time: a model that has copied them has all of them freed."""
        while self._kept:
            self._kept.pop()
            let_pass()

    def _raw(self, state: dict[str, Any]) -> Any:
        let_pass()
        if state.get("numpy_array_alignment_bytes") is not None:
            (padding,) = self._file.read(1)
            self._file.read(padding)
        shape: tuple[int, ...] = state["shape"]
        array: Any = np.empty(math.prod(shape), state["dtype"])
        if not array.itemsize:
            raise Unusual("an array of nothing")
        if array.size:
            self._fill(array.view(np.uint8))
        if array.nbytes > _SLOW_TO_FREE_BYTES:
            self._kept.append(array)
        return array.reshape(shape[::-1]).transpose() if state["order"] == "F" else array.reshape(shape)

    def _fill(self, room: Any) -> None:
        for start in range(0, room.size, _PIECE_BYTES):
            if start:
                let_pass()
            piece = room[start : start + _PIECE_BYTES]
            if self._file.readinto(piece) != piece.size:
                raise EOFError


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: _File, wrapper: type, old_wrapper: type) -> None:
        super().__init__(file, buffers=file)
        self._wrapper = wrapper
        self._wrappers = (wrapper, old_wrapper)

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The class or function of this name; for joblib's wrapper the one that stands in for it."""
        found = super().find_class(module_name, global_name)
        if found is self._wrapper:
            return _stand_in(found)
        if isinstance(found, type) and issubclass(found, self._wrappers):
            raise Unusual(f"an array in a {found}")
        return found


@functools.cache
def _stand_in(wrapper: Any) -> type:
    class StandIn(wrapper):
        def __setstate__(self, state: dict[str, Any]) -> None:
            self.__dict__.update(state)
            self.__class__ = wrapper
            _current.file.take(state)

    return StandIn
