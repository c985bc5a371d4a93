"""What a fetch promises, over a real HTTP server: once, whole, resumed, unchanged for one request, and in words."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import replace

import pytest

from modelport import storage
from modelport.storage import Patterns, StorageError
from modelport.storage.credentials import of

BIG = os.urandom(1 << 20) * 40  # five parts of 8 MiB


def test_a_file_becomes_a_read_only_folder_named_by_its_content(web, fetch, contents):
    fetched = fetch(web.put("/a/model.joblib", b"weights"))
    assert contents(fetched.path) == {"model.joblib": b"weights"}
    assert (fetched.path / "model.joblib").stat().st_mode & 0o222 == 0
    assert fetched.digest == f"sha256:{fetched.path.parent.name}"
    assert (fetched.bytes, fetched.from_cache) == (7, False)


def test_an_unchanged_model_costs_one_request_and_no_body(web, fetch):
    uri = web.put("/model.joblib", b"weights" * 1000)
    first = fetch(uri)
    sent, gets = web.sent, web.gets
    again = fetch(uri)
    assert (web.gets - gets, web.sent - sent) == (1, 0)
    assert web.requests[-1][3] == 304
    assert (again.path, again.from_cache, first.from_cache) == (first.path, True, False)


def test_a_new_file_behind_an_unchanged_uri_is_noticed(web, fetch, contents):
    uri = web.put("/model.joblib", b"old")
    old = fetch(uri)
    web.put("/model.joblib", b"new")
    new = fetch(uri)
    assert new.digest != old.digest
    assert contents(new.path) == {"model.joblib": b"new"}
    assert contents(old.path) == {"model.joblib": b"old"}, "those who use the old one must not see it change"


def test_a_known_digest_is_used_without_asking(web, fetch):
    uri = web.put("/model.joblib", b"old")
    old = fetch(uri)
    web.put("/model.joblib", b"new")
    gets = web.gets
    assert fetch(uri, digest=old.digest).path == old.path
    assert web.gets == gets


def test_a_large_file_is_read_in_parts_and_put_together(web, fetch):
    fetched = fetch(web.put("/model.bin", BIG))
    assert hashlib.sha256((fetched.path / "model.bin").read_bytes()).digest() == hashlib.sha256(BIG).digest()
    assert sum(status == 206 for *_, status in web.requests) >= 4


def test_a_connection_that_breaks_again_and_again_is_gone_on_with(web, fetch):
    uri = web.put("/model.bin", BIG)
    web.cut = lambda path, length: max(1, length // 2) if web.gets % 2 else None
    fetched = fetch(uri)
    assert (fetched.path / "model.bin").read_bytes() == BIG
    assert web.sent < 2 * len(BIG), "what came before a break is not asked for again"


def test_a_server_without_ranges_is_read_in_one_go(web, fetch):
    web.cut = lambda path, length: length // 2 if web.gets == 1 else None
    fetched = fetch(web.put("/model.bin", BIG, ranges=False))
    assert (fetched.path / "model.bin").read_bytes() == BIG


def test_a_server_that_ignores_ranges_though_it_offers_them_is_read_in_one_go(web, fetch):
    uri = web.put("/model.bin", BIG)

    def strip(handler):
        del handler.headers["Range"]

    web.before = strip
    assert (fetch(uri).path / "model.bin").read_bytes() == BIG


def test_a_file_that_changes_while_it_is_read_is_never_mixed(web, fetch):
    uri = web.put("/model.bin", b"a" * len(BIG))

    def swap(handler):
        if "Range" in handler.headers and web.files["/model.bin"].content[:1] == b"a":
            web.put("/model.bin", b"b" * len(BIG))

    web.before = swap
    content = (fetch(uri).path / "model.bin").read_bytes()
    assert content == b"b" * len(BIG)


def test_what_was_fetched_before_a_failure_is_not_fetched_again(web, fetch):
    uri = web.put("/model.bin", BIG)
    broken = threading.Event()

    def die(handler):
        if web.sent > len(BIG) // 2:
            broken.set()
        if broken.is_set():
            handler.send_error(403)
            return True
        return None

    web.before = die
    web.cut = lambda path, length: 5 << 20
    with pytest.raises(StorageError):
        fetch(uri)
    web.before, web.cut = lambda handler: None, lambda path, length: None
    before = web.sent
    fetched = fetch(uri)
    assert (fetched.path / "model.bin").read_bytes() == BIG
    assert web.sent - before < len(BIG)


def test_many_at_once_download_once(web, fetch):
    uri = web.put("/model.bin", BIG)
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(uri))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({fetched.path for fetched in found}) == 1
    assert len(found) == 8
    assert web.sent <= len(BIG) + (9 << 20), "one download, but for the part that the first answer began"


def test_other_credentials_ask_for_themselves_but_transfer_nothing(web, fetch):
    """Else whoever may not read a private model would get it from the cache of one who may."""
    uri = web.put("/model.bin", b"secret" * 1000)
    headers = {"a": "Bearer a", "b": "Bearer b"}

    def check(handler):
        if handler.headers.get("Authorization") not in headers.values():
            handler.send_response(401)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True
        return None

    web.before = check

    def who(name):
        return of({"127.0.0.1-headers": f'{{"Authorization": "Bearer {name}"}}'}, f"Secret default/{name}")

    fetch(uri, credentials=who("a"))
    with pytest.raises(StorageError) as refused:
        fetch(uri, credentials=who("stranger"))
    assert refused.value.reason == "Unauthenticated"
    assert "Secret default/stranger" in str(refused.value)
    assert "Bearer" not in str(refused.value)
    again = fetch(uri, credentials=who("b"))
    assert again.from_cache


def test_a_store_that_is_down_does_not_take_a_fetched_model_away(web, fetch):
    uri = web.put("/model.joblib", b"weights")
    first = fetch(uri)
    web.before = lambda handler: handler.send_error(503) or True
    again = fetch(uri)
    assert again.path == first.path
    assert "503" in again.warnings[-1]


def test_a_store_that_is_down_for_longer_than_the_budget_fails_with_the_budget_named(web, fetch):
    web.before = lambda handler: handler.send_error(503) or True
    with pytest.raises(
        StorageError, match=r"answered 503, and again for \d+ s, which is the budget"
    ) as failed:
        fetch(f"{web.url}/model.joblib")
    assert failed.value.transient
    assert web.gets == 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "Unauthenticated"), (403, "PermissionDenied"), (404, "NotFound"), (400, "Failed")],
)
def test_what_will_not_pass_is_not_tried_again(web, fetch, status, reason):
    asked = []

    def refuse(handler):
        asked.append(handler.path)
        handler.send_error(status)
        return True

    web.before = refuse
    with pytest.raises(StorageError) as failed:
        fetch(f"{web.url}/model.joblib")
    assert (failed.value.reason, len(asked)) == (reason, 1)
    assert str(failed.value).startswith(f"{web.url}/model.joblib: ")


def test_cancelling_ends_it_and_keeps_what_came(web, fetch):
    uri = web.put("/model.bin", BIG)
    cancel = threading.Event()
    web.before = lambda handler: cancel.set() if web.sent > len(BIG) // 2 else None
    web.cut = lambda path, length: 5 << 20
    with pytest.raises(storage.Cancelled):
        fetch(uri, cancel=cancel)
    before = web.sent
    web.before, web.cut = lambda handler: None, lambda path, length: None
    assert (fetch(uri).path / "model.bin").read_bytes() == BIG
    assert web.sent - before < len(BIG)


def test_progress_goes_up_to_the_whole(web, fetch):
    seen: list[storage.Progress] = []
    fetch(web.put("/model.bin", BIG), progress=seen.append)
    assert seen[0].phase == "resolve"
    assert (seen[-1].phase, seen[-1].bytes_done, seen[-1].bytes_total) == ("done", len(BIG), len(BIG))
    done = [one.bytes_done for one in seen]
    assert done == sorted(done)


def test_a_pin_lets_only_its_own_content_through(web, fetch):
    uri = web.put("/model.joblib", b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    assert fetch(uri, sha256=right).path.is_dir()
    assert fetch(f"{uri}#sha256={right}").path.is_dir()
    with pytest.raises(StorageError, match=f"should be {'0' * 64}, and it has {right}"):
        fetch(uri, sha256="0" * 64)


def test_a_mirror_stands_for_a_prefix_and_is_told(web, fetch, contents):
    web.put("/mirror/sklearn/model.joblib", b"weights")
    fetched = fetch(
        "gs://kfserving-examples/models/sklearn/model.joblib",
        mirrors=[storage.Mirror("gs://kfserving-examples/models/", f"{web.url}/mirror/")],
    )
    assert fetched.mirrored_from == f"{web.url}/mirror/sklearn/model.joblib"
    assert fetched.uri == "gs://kfserving-examples/models/sklearn/model.joblib"
    assert contents(fetched.path) == {"model.joblib": b"weights"}


def test_metadata_addresses_are_not_read(web, fetch):
    """A model's URI in somebody's YAML must not fetch the machine's own credentials."""
    from modelport.storage import transport

    class Fake:
        def getpeername(self):
            return ("169.254.169.254", 80)

        def close(self):
            self.closed = True

    fake = Fake()
    with pytest.raises(StorageError, match="link-local"):
        transport.guard(fake, "metadata.google.internal")
    assert fake.closed


def test_credentials_do_not_follow_a_redirect_to_another_host(web, fetch):
    other = type(web)()
    try:
        target = other.put("/model.joblib", b"weights")

        def away(handler):
            handler.send_response(302)
            handler.send_header("Location", target.replace("127.0.0.1", "localhost"))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        web.before = away
        fetch(
            f"{web.url}/model.joblib",
            credentials=of({"127.0.0.1-headers": '{"Authorization": "Bearer a"}'}, "Secret default/a"),
        )
        assert "authorization" not in other.requests[0][2]
    finally:
        other.close()


def test_a_login_page_is_no_model(web, fetch):
    uri = web.put("/model.joblib", b"<html>", type="text/html; charset=utf-8")
    with pytest.raises(StorageError, match="web page"):
        fetch(uri)


def test_an_archive_served_as_something_else_is_refused_with_the_reason(web, fetch):
    uri = web.put("/model.zip", b"PK", type="text/plain")
    with pytest.raises(StorageError, match=r"says that model\.zip is text/plain"):
        fetch(uri)


def test_patterns_that_want_nothing_say_so(web, fetch):
    uri = web.put("/model.joblib", b"x")
    with pytest.raises(StorageError, match="the patterns want none of them"):
        fetch(uri, patterns=Patterns(allow=("*.onnx",)))


def test_a_written_to_model_in_the_cache_is_fetched_anew(web, fetch, contents):
    uri = web.put("/model.joblib", b"weights")
    fetched = fetch(uri)
    path = fetched.path / "model.joblib"
    path.chmod(0o600)
    path.write_bytes(b"spoilt!")
    assert contents(fetch(uri).path) == {"model.joblib": b"weights"}


def test_after_the_machine_went_down_a_model_is_verified_before_it_is_used(
    web, fetch, cache, contents, monkeypatch
):
    """Nothing waits for fsync, so a file may have its size and time and yet hold zeros."""
    uri = web.put("/model.joblib", b"weights")
    path = fetch(uri).path / "model.joblib"
    seen = path.stat()
    path.chmod(0o600)
    path.write_bytes(b"\0" * 7)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    monkeypatch.setattr("modelport.storage.cache.boot_id", lambda: "another")
    assert contents(fetch(uri).path) == {"model.joblib": b"weights"}


def test_a_gzipped_file_is_unpacked(web, fetch, contents):
    import gzip

    uri = web.put("/model.pkl.gz", gzip.compress(b"weights"), type="application/gzip")
    assert contents(fetch(uri).path) == {"model.pkl": b"weights"}


def test_an_error_message_keeps_signatures_out(web, fetch):
    with pytest.raises(StorageError) as failed:
        fetch(f"{web.url}/model.joblib?sig=topsecret&v=1")
    assert "topsecret" not in str(failed.value)
    assert "v=1" in str(failed.value)


def test_errors_print_where_what_with_which_credential_and_what_to_do():
    error = StorageError(
        "read", "store.example answered 403", "Ask for the right to read it", reason="PermissionDenied"
    )
    error.about("s3://b/k", "Secret default/s3")
    assert str(error) == (
        "s3://b/k: read: store.example answered 403 (with Secret default/s3). Ask for the right to read it"
    )


def test_secrets_print_redacted():
    credentials = of({"AWS_SECRET_ACCESS_KEY": "topsecret"}, "Secret default/s3")
    assert "topsecret" not in repr(credentials)
    assert "topsecret" not in f"{credentials} {replace(credentials)}"
    assert credentials.get("AWS_SECRET_ACCESS_KEY") == "topsecret"


def test_a_name_in_an_address_cannot_lead_out(web, fetch, tmp_path):
    def anything(handler):
        handler.path = "/evil.joblib"

    web.put("/evil.joblib", b"x")
    web.before = anything
    uri = f"{web.url}/..%2f..%2fevil.joblib"
    with pytest.raises(StorageError, match="outside the model's folder"):
        fetch(uri)


def test_an_exhausted_budget_is_named_once(web, fetch):
    uri = web.put("/model.bin", BIG, ranges=False)
    web.cut = lambda path, length: 10
    with pytest.raises(StorageError) as failed:
        fetch(uri)
    assert str(failed.value).count("and again for") == 1
    assert failed.value.transient


def test_what_a_store_says_and_nobody_understands_is_an_error_and_no_crash(fetch, web):
    web.put("/api/models/a/b/revision/main", b"<html>no hub</html>")
    with pytest.raises(StorageError, match="the store's answer is not understood"):
        fetch("hf://a/b", credentials=of({"HF_ENDPOINT": web.url}, "test"))


def test_a_file_and_a_folder_of_one_name_are_told(fetch, monkeypatch):
    from modelport.storage import Listing, RemoteFile, scheme

    def resolve(uri, context):
        def read(start, stop):
            yield b""

        return Listing(
            files=tuple(RemoteFile(path, read, size=0, version="1") for path in ("a", "a/b")), origin="x"
        )

    class Point:
        def load(self):
            return resolve

    monkeypatch.setattr(scheme, "added", lambda: {"dvc": Point()})
    with pytest.raises(StorageError, match="a/b, and a file of the name of its folder"):
        fetch("dvc://x")


def test_a_cache_that_cannot_be_written_is_told(web, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"write: .*Not a directory"):
        storage.fetch(web.put("/m.onnx", b"x"), cache=storage.Cache(tmp_path / "file" / "cache"))
