"""What a person sees of a model that is being fetched."""

from types import SimpleNamespace

from modelport.local.node import initializer
from modelport.local.node.fetching import found_words
from modelport.storage import Fetched, Progress


def seen(monkeypatch, *moments, warn=lambda words: None):
    shown: list[str] = []
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(initializer.time, "monotonic", lambda: clock.now)
    record = SimpleNamespace(wait_for=lambda name, reason, words: shown.append(words))
    watcher = initializer._Seen(record, "storage-initializer", warn)
    for after_s, progress in moments:
        clock.now += after_s
        watcher.show(progress)
    return shown


def read(done: int, **more) -> Progress:
    return Progress(
        "s3://m/churn", phase="read", bytes_done=done, bytes_total=4 << 30, bytes_per_second=3e8, **more
    )


def test_how_far_it_is_is_told_in_units_that_people_read():
    assert initializer.sentence(read(1 << 30)) == "fetching s3://m/churn · 1.0 GiB of 4.0 GiB · 286 MiB/s"
    assert initializer.sentence(Progress("s3://m/churn")) == "asking for s3://m/churn"
    noted = Progress("gs://m/churn", phase="list", note="fetched from file:///srv, its mirror")
    assert initializer.sentence(noted) == "listing gs://m/churn · fetched from file:///srv, its mirror"
    assert initializer.sentence(Progress("s3://m/churn", phase="done")) is None


def test_a_fetch_of_minutes_is_few_writes(monkeypatch):
    # Ten moments a second, each written to disk by the API server, would slow everything else down.
    moments = [(0.1, read(number << 20)) for number in range(100)]
    assert len(seen(monkeypatch, *moments)) == 5


def test_a_new_phase_or_a_retry_is_told_at_once(monkeypatch):
    # Why nothing moves is what a waiting person wants to know.
    retry = read(2, note="the store answers 503; trying again in 4 s")
    shown = seen(monkeypatch, (0, Progress("s3://m/churn")), (0.1, read(1)), (0.1, read(2)), (0.1, retry))
    assert [words.split(" ")[0] for words in shown] == ["asking", "fetching", "fetching"]
    assert "503" in shown[-1]


def test_a_retry_becomes_an_event_once(monkeypatch):
    # `kubectl get events` is where people look first; a store that is away for two minutes fails many times.
    retry = read(2, note="the store answers 503; trying again", is_trouble=True)
    mirror = read(2, note="fetched from file:///srv, its mirror")
    told: list[str] = []
    seen(monkeypatch, (0, mirror), (3, retry), (3, read(3)), (3, retry), warn=told.append)
    assert told == ["s3://m/churn: the store answers 503; trying again"]


def test_what_was_found_is_the_same_sentence_for_every_pod(tmp_path):
    # Else the service's condition would change with each replica.
    found = Fetched(
        path=tmp_path, digest="sha256:ab", uri="gs://m/x", mirrored_from="file:///srv/x", bytes=2048
    )
    assert found_words(found) == "gs://m/x (mirror: file:///srv/x): sha256:ab, 2.0 KiB"
    place = Fetched(path=tmp_path, digest="stat:1", uri="file:///srv/x", bytes=10)
    assert found_words(place) == "file:///srv/x: used where it lies, 10 B"
