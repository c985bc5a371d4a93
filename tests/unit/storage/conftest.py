"""What the storage tests share: a cache in a folder of its own, a real web server, and a `fetch` bound to them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from web import Web

from modelport import storage
from modelport.storage import clone


@pytest.fixture
def cache(tmp_path):
    cache = storage.Cache(tmp_path / "cache")
    yield cache
    clone.remove(tmp_path / "cache")


@pytest.fixture
def web():
    web = Web()
    yield web
    web.close()


@pytest.fixture
def fetch(cache):
    """`storage.fetch` with this test's cache, impatient about retries."""

    def bound(uri, **more):
        more.setdefault("retry", storage.Retry(budget_s=2.0, first_s=0.01, longest_s=0.1))
        return storage.fetch(str(uri), cache=more.pop("cache", cache), **more)

    return bound


@pytest.fixture
def contents():
    """A folder's files by path."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read
