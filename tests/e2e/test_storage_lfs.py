"""Git LFS against giftless, a server of it, filled by git-lfs itself: a repository's large files come with it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest
import stores
import test_storage_git

from modelport import storage
from modelport.storage import StorageError

pytestmark = pytest.mark.skipif(
    not os.environ.get("MODELPORT_STORAGE_TOOLS"), reason="stores of other toolchains: run tests/storage.sh"
)
repository, server, fetch = test_storage_git.repository, test_storage_git.server, test_storage_git.fetch
files = test_storage_git.files

LARGE = os.urandom(1 << 20) * 20
"""Enough to be read in parts."""
SERVE = """
import sys
from werkzeug.serving import make_server
from giftless.app import init_app
make_server("127.0.0.1", int(sys.argv[1]), init_app(), threaded=True).serve_forever()
"""


@pytest.fixture
def large(tmp_path: Path):
    """giftless, open to everybody."""
    port = stores.free_port()
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "giftless").mkdir()
    (tmp_path / "giftless.yaml").write_text(
        f"""
AUTH_PROVIDERS: [giftless.auth.allow_anon:read_write]
LEGACY_ENDPOINTS: false
TRANSFER_ADAPTERS:
  basic:
    factory: giftless.transfer.basic_streaming:factory
    options:
      storage_class: giftless.storage.local_storage:LocalStorage
      storage_options: {{path: "{tmp_path}/giftless"}}
      action_lifetime: 900
"""
    )
    running = stores.Store(
        [stores.tool("giftless", "bin", "python"), "-W", "ignore", "-c", SERVE, port],
        url,
        log=tmp_path / "giftless.log",
        environment={"GIFTLESS_CONFIG_FILE": str(tmp_path / "giftless.yaml")},
    )
    yield running
    running.close()


def run_in(repository: Path, *words: str) -> None:
    """git, with git-lfs beside it."""
    program = stores.tool("bin", "git-lfs")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    done = subprocess.run(
        ["git", "-C", str(repository), *identity, *words],
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


@pytest.fixture
def pushed(tmp_path: Path, repository: Path, large: stores.Store) -> Path:
    """The repository with two files in LFS, pushed by git-lfs."""
    run = partial(run_in, repository)
    run("lfs", "install", "--local")
    run("config", "lfs.transfer.maxretries", "1")
    run("lfs", "track", "*.safetensors")
    (repository / ".lfsconfig").write_text(f"[lfs]\n\turl = {large.url}/team/models.git/info/lfs\n")
    (repository / "weights").mkdir()
    (repository / "weights" / "model.safetensors").write_bytes(LARGE)
    (repository / "small.safetensors").write_bytes(b"little")
    run("add", ".")
    run("commit", "-qm", "large files")
    run("remote", "add", "origin", str(tmp_path / "served" / "models.git"))
    run("push", "-q", "origin", "HEAD:main")
    return repository


def test_large_files_take_the_place_of_their_pointers(server, fetch, pushed):
    fetched = fetch(server[0])
    found = files(fetched.path)
    assert found["weights/model.safetensors"] == LARGE
    assert found["small.safetensors"] == b"little"
    assert found["model.onnx"] == b"two"
    assert fetched.bytes == sum(map(len, found.values()))
    assert fetch(server[0]).from_cache


def test_another_commit_fetches_only_what_is_new(server, fetch, pushed):
    fetch(server[0])
    (pushed / "model.onnx").write_bytes(b"three")
    run_in(pushed, "commit", "-qm", "three", "model.onnx")
    run_in(pushed, "push", "-q", "origin", "HEAD:main")
    again = fetch(server[0])
    assert files(again.path)["model.onnx"] == b"three"
    assert files(again.path)["weights/model.safetensors"] == LARGE
    assert again.fetched_bytes < 1 << 20


def test_only_what_is_wanted_comes(server, fetch, pushed):
    fetched = fetch(server[0], patterns=storage.Patterns(allow=("small.*",)))
    assert files(fetched.path) == {"small.safetensors": b"little"}


def test_an_object_that_is_gone_or_changed_is_told(server, fetch, pushed, tmp_path):
    objects = sorted(
        (one for one in (tmp_path / "giftless").rglob("*") if one.is_file()),
        key=lambda one: one.stat().st_size,
    )
    objects[-1].write_bytes(bytes(len(LARGE)))
    with pytest.raises(StorageError, match=r"weights/model.safetensors: its SHA-256 should be"):
        fetch(server[0])
    objects[-1].unlink()
    with pytest.raises(
        StorageError, match=r"weights/model.safetensors is kept in Git LFS, and its server does not"
    ):
        fetch(server[0])


def test_a_pin_is_over_the_whole_and_not_over_its_one_large_file(server, fetch, pushed):
    run_in(pushed, "rm", "-q", "small.safetensors")
    run_in(pushed, "commit", "-qm", "one large file")
    run_in(pushed, "push", "-q", "origin", "HEAD:main")
    with pytest.raises(StorageError, match="its SHA-256 should be"):
        fetch(server[0], sha256=hashlib.sha256(LARGE).hexdigest())
