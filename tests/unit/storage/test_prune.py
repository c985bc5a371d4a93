"""The cache's size: the longest unused goes first, what is in use never."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from modelport import storage
from modelport.cli import main
from modelport.storage import Cache, clone, lock, prune


@pytest.fixture
def three(web, fetch, cache):
    """Three models of 1 MiB, oldest use first; all leases given back."""
    found = []
    for number in range(3):
        fetched = fetch(web.put(f"/{number}/model.onnx", os.urandom(1 << 20)))
        fetched.lease.release()
        os.utime(cache.use / fetched.path.parent.name, (number, number))
        found.append(fetched)
    return found


def there(fetched) -> bool:
    return (fetched.path / "model.onnx").is_file()


def test_the_longest_unused_goes_first(cache, three):
    done = prune.prune(cache, 2 * (1 << 20) + 4096 * 4)
    assert [there(one) for one in three] == [False, True, True]
    assert (done.models, done.freed_bytes >= 1 << 20) == (1, True)
    assert prune.size(cache) <= 2 * (1 << 20) + 4096 * 4


def test_what_is_in_use_stays(cache, three, fetch, web):
    lease = cache.lease(three[0].digest)
    prune.prune(cache, 0)
    assert [there(one) for one in three] == [True, False, False]
    lease.release()
    prune.prune(cache, 0)
    assert not there(three[0])
    assert list(cache.blobs.glob("*/*")) == []


def test_a_pin_holds_as_long_as_its_holder_exists(cache, three, tmp_path):
    """A pod's volume outlives the node that made it."""
    holder = tmp_path / "volume"
    holder.symlink_to(three[0].path)
    cache.pin(three[0].digest, holder)
    prune.prune(cache, 0)
    assert there(three[0])
    holder.unlink()
    prune.prune(cache, 0)
    assert not there(three[0])


def test_a_lease_ends_with_its_process(cache, three, tmp_path):
    code = (
        "import sys; from pathlib import Path; from modelport.storage import Cache\n"
        "lease = Cache(Path(sys.argv[1])).lease(sys.argv[2]); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(cache.folder), three[0].digest],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"held\n"
        prune.prune(cache, 0)
        assert there(three[0])
        process.send_signal(signal.SIGKILL)
        process.wait()
    prune.prune(cache, 0)
    assert not there(three[0])


def test_a_limit_is_kept_by_every_fetch(web, tmp_path, fetch):
    cache = Cache(tmp_path / "small", limit_bytes=3 << 20)
    try:
        for number in range(6):
            fetch(web.put(f"/{number}/model.onnx", os.urandom(1 << 20)), cache=cache).lease.release()
            assert prune.size(cache) <= 3 << 20
        assert len(prune.held(cache)) >= 2
    finally:
        clone.remove(tmp_path / "small")


def test_two_models_share_equal_files(web, fetch, cache):
    """A fine-tuned version does not bring the tokenizer a second time."""
    content = os.urandom(1 << 20)
    one = fetch(web.put("/1/model.onnx", content))
    two = fetch(web.put("/2/other.onnx", content))
    assert one.digest != two.digest
    assert (one.path / "model.onnx").stat().st_ino == (two.path / "other.onnx").stat().st_ino
    assert prune.size(cache) < 1.5 * (1 << 20)


def test_a_full_disk_is_said_before_the_download(web, fetch, monkeypatch):
    uri = web.put("/model.onnx", os.urandom(1 << 20))
    monkeypatch.setattr("modelport.storage.space.free", lambda path: 1 << 19)
    with pytest.raises(
        storage.StorageError, match=r"needs 10\d\d KiB and the disk .* has 512 KiB left"
    ) as failed:
        fetch(uri)
    assert (failed.value.step, failed.value.reason) == ("write", "NoSpace")
    assert "modelport storage prune" in failed.value.hint


def test_a_disk_that_fills_up_meanwhile_is_told_in_words(web, tmp_path, fetch):
    """A real file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place]).returncode
    ):
        pytest.skip("needs the right to mount")
    try:
        uri = web.put("/model.onnx", os.urandom(20 << 20), headers={})
        cache = Cache(place / "cache")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("modelport.storage.space.free", lambda path: 1 << 40)
            with pytest.raises(storage.StorageError, match="is full") as failed:
                fetch(uri, cache=cache)
        assert failed.value.reason == "NoSpace"
        assert not failed.value.transient
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_what_was_abandoned_half_way_goes_in_time(web, fetch, cache, monkeypatch):
    uri = web.put("/model.bin", os.urandom(20 << 20))
    web.before = lambda handler: handler.send_error(403) or True if web.sent > 4 << 20 else None
    web.cut = lambda path, length: 6 << 20
    with pytest.raises(storage.StorageError):
        fetch(uri)
    assert list(cache.partial.iterdir())
    prune.prune(cache, 1 << 40)
    assert list(cache.partial.iterdir()), "somebody may go on with it"
    monkeypatch.setattr("modelport.storage.prune.ABANDONED_S", -1.0)
    for _ in range(600):  # a thread of the failed fetch may hold it for a moment more
        prune.prune(cache, 1 << 40)
        if not list(cache.partial.iterdir()):
            return
        threading.Event().wait(0.05)
    raise AssertionError(list(cache.partial.iterdir()))


def test_what_lies_there_half_makes_way_where_the_disk_is_too_small(cache):
    for name in ("forgotten", "fetched"):
        (cache.partial / name).mkdir(parents=True)
        (cache.partial / name / "1.parts").write_bytes(b"half")
    held = lock.attempt(cache.locks / "fetched")
    assert held is not None
    with held:
        prune.free(cache, 1 << 60)
        assert [one.name for one in cache.partial.iterdir()] == ["fetched"]


def test_what_was_fetched_half_is_listed_until_it_is_dropped(web, fetch, cache, capsys):
    """It takes the disk that somebody looks for, after a fetch that was broken off of a model that nobody wants any more."""
    uri = web.put("/large.onnx", os.urandom(24 << 20))
    web.cut = lambda path, length: 3 << 20 if web.gets < 6 else 0
    with pytest.raises(storage.StorageError):
        fetch(uri, retry=storage.Retry(budget_s=0.2, first_s=0.01, longest_s=0.1))
    (half,) = cache.partial.iterdir()
    lock.acquire(cache.locks / half.name).release()  # its last thread has ended
    folder = str(cache.folder)
    assert main(["storage", "list", "--cache", folder]) == 0
    assert re.search(
        rf"^\(half\) +\d.* MiB  \d+s +no +{re.escape(uri)}$", capsys.readouterr().out, re.MULTILINE
    )
    main(["storage", "list", "--cache", folder, "-o", "json"])
    (half,) = json.loads(capsys.readouterr().out)["partial"]
    assert (half["uri"], half["bytes"] >= 1 << 20, half["in_use"]) == (uri, True, False)
    main(["storage", "prune", "--cache", folder])
    main(["storage", "list", "--cache", folder])
    assert "(half)" not in capsys.readouterr().out
