"""`s3://` against moto's server, filled by boto3: settings, credentials, words."""

from __future__ import annotations

import http.client
import http.server
import os
import ssl
import subprocess
import threading
from urllib.parse import urlsplit

import pytest
import stores
from faulty import Proxy, sometimes

from modelport import storage
from modelport.storage import Context, Credentials, StorageError
from modelport.storage.credentials import of
from modelport.storage.scheme import s3 as scheme_s3

boto3 = pytest.importorskip("boto3")
BIG = os.urandom(1 << 20) * 20


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = stores.moto(tmp_path_factory.mktemp("moto") / "log")
    yield server
    server.close()


@pytest.fixture(scope="module")
def bucket(s3):
    client = boto3.client(
        "s3",
        endpoint_url=s3.url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="hidden",
    )
    client.create_bucket(Bucket="models")
    for key, body in {
        "churn/3/model.joblib": b"weights",
        "churn/3/sub/notes.txt": b"notes",
        "churn/3/sub/__init__.py": b"",
        "churn/3/sub/": b"",
        "churn/31/model.joblib": b"another model",
        "big/model.bin": BIG,
        "name with spaces/käse+.onnx": b"odd",
    }.items():
        client.put_object(Bucket="models", Key=key, Body=body)
    return client


@pytest.fixture
def given(s3) -> Credentials:
    return of(
        {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_ENDPOINT_URL": s3.url},
        "Secret default/s3",
    )


@pytest.fixture
def fetch(tmp_path, bucket, given, monkeypatch):
    # What this process has must not get into a pod's fetch.
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "of-the-node",
        "AWS_SESSION_TOKEN": "of-the-node",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_PROXY_URL": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)

    def bound(uri, credentials=given, **more):
        more.setdefault("retry", storage.Retry(budget_s=1.0, first_s=0.01))
        return storage.fetch(uri, cache=storage.Cache(tmp_path / "cache"), credentials=credentials, **more)

    return bound


def files(path) -> dict[str, bytes]:
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


@pytest.mark.parametrize("uri", ["s3://models/churn/3", "s3://models/churn/3/"])
def test_a_prefix_is_a_folder_and_not_its_neighbours(fetch, uri):
    """KServe's own storage takes `churn/31/…` along."""
    fetched = fetch(uri)
    assert files(fetched.path) == {
        "model.joblib": b"weights",
        "sub/notes.txt": b"notes",
        "sub/__init__.py": b"",
    }
    assert fetched.credential == "the access key of Secret default/s3"


def test_a_key_is_one_file(fetch):
    assert files(fetch("s3://models/churn/3/model.joblib").path) == {"model.joblib": b"weights"}


def test_names_with_spaces_and_letters_of_the_world(fetch):
    assert files(fetch("s3://models/name with spaces").path) == {"käse+.onnx": b"odd"}


def test_a_large_object_comes_in_parts(fetch):
    assert (fetch("s3://models/big/model.bin").path / "model.bin").read_bytes() == BIG


def test_only_what_changed_comes_again(fetch, bucket):
    for key in ("a", "b"):
        bucket.put_object(Bucket="models", Key=f"two/{key}.bin", Body=key.encode() * 1000)
    assert fetch("s3://models/two").fetched_bytes == 2000
    assert fetch("s3://models/two").from_cache
    bucket.put_object(Bucket="models", Key="two/b.bin", Body=b"c" * 999)
    again = fetch("s3://models/two")
    assert again.fetched_bytes == 999
    assert files(again.path) == {"a.bin": b"a" * 1000, "b.bin": b"c" * 999}


def test_an_archive_alone_is_unpacked(fetch, bucket, tmp_path):
    import tarfile

    (tmp_path / "m").write_bytes(b"weights")
    with tarfile.open(tmp_path / "m.tgz", "w:gz") as archive:
        archive.add(tmp_path / "m", "model/model.onnx")
    bucket.upload_file(str(tmp_path / "m.tgz"), "models", "packed/m.tgz")
    assert files(fetch("s3://models/packed").path) == {"model/model.onnx": b"weights"}


def test_a_bucket_that_does_not_exist(fetch, s3):
    with pytest.raises(StorageError, match=f"there is no bucket nothing at {s3.url}") as failed:
        fetch("s3://nothing/churn")
    assert (failed.value.step, failed.value.reason, failed.value.transient) == ("list", "NotFound", False)


def test_a_bucket_without_permission(fetch, s3):
    with pytest.raises(StorageError, match="may not be read") as failed:
        fetch(
            "s3://models/churn/3",
            of({"AWS_ENDPOINT_URL": s3.url, "awsAnonymousCredential": "true"}, "Secret a/b"),
        )
    assert failed.value.reason == "PermissionDenied"
    assert "Give a credential: a Secret on the ServiceAccount" in failed.value.hint


def test_a_bucket_without_the_key(fetch):
    with pytest.raises(StorageError, match="there is no model: nothing lies there") as failed:
        fetch("s3://models/churn/99")
    assert failed.value.reason == "NotFound"
    assert "Secret default/s3" in str(failed.value)


def test_an_anonymous_fetch_of_a_public_bucket(fetch, bucket, s3):
    bucket.create_bucket(Bucket="public", ACL="public-read")
    bucket.put_object(Bucket="public", Key="m/model.onnx", Body=b"free", ACL="public-read")
    fetched = fetch("s3://public/m", of({"AWS_ENDPOINT_URL": s3.url}, "Secret a/b"))
    assert files(fetched.path) == {"model.onnx": b"free"}
    assert fetched.credential == ""


def test_an_endpoint_that_is_not_there_is_transient_and_named(fetch):
    port = stores.free_port()
    with pytest.raises(StorageError, match=f"127.0.0.1:{port} .*again for .* budget") as failed:
        fetch(
            "s3://models/churn/3", of({"S3_ENDPOINT": f"127.0.0.1:{port}", "S3_USE_HTTPS": "0"}, "Secret a/b")
        )
    assert failed.value.transient


def test_half_a_credential_is_named(fetch, s3):
    with pytest.raises(
        StorageError, match="Secret a/b gives AWS_ACCESS_KEY_ID, and its other half is missing"
    ):
        fetch("s3://models/churn", of({"AWS_ACCESS_KEY_ID": "key", "AWS_ENDPOINT_URL": s3.url}, "Secret a/b"))


def test_a_role_by_web_identity(fetch, s3, tmp_path):
    """IRSA: a ServiceAccount's role and the token that the cluster mounts."""
    token = tmp_path / "token"
    token.write_text("eyJhbGciOiJub25lIn0.e30.")
    given = of(
        {
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/models",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "AWS_ENDPOINT_URL": s3.url,
            "AWS_ENDPOINT_URL_STS": s3.url,
        },
        "ServiceAccount default/trainer",
    )
    fetched = fetch("s3://models/churn/3", given)
    assert (
        fetched.credential
        == "the role arn:aws:iam::123456789012:role/models of ServiceAccount default/trainer"
    )
    assert (fetched.path / "model.joblib").read_bytes() == b"weights"


def test_a_missing_token_file_is_named(fetch, s3, tmp_path):
    given = of(
        {
            "AWS_ROLE_ARN": "arn:x",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "no"),
            "AWS_ENDPOINT_URL": s3.url,
        },
        "SA",
    )
    with pytest.raises(StorageError, match=f"web identity token {tmp_path}/no cannot be read"):
        fetch("s3://models/churn/3", given)


def test_virtual_hosts_and_a_proxy(fetch, s3, given, monkeypatch):
    """The bucket goes into the host's name, which a proxy resolves."""
    port = int(s3.url.rpartition(":")[2])
    asked = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            asked.append(self.path)
            parts = urlsplit(self.path)
            upstream = http.client.HTTPConnection("127.0.0.1", port)
            upstream.request(
                self.command, f"{parts.path}?{parts.query}".rstrip("?"), headers=dict(self.headers)
            )
            answer = upstream.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self):
            self.do_GET()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("no_proxy", "nothing.example")
        virtual = of(
            {"AWS_ENDPOINT_URL": "http://s3.amazonaws.com", "S3_USER_VIRTUAL_BUCKET": "true"}, "Secret a/b"
        )
        fetched = fetch("s3://models/churn/3", virtual.over(given))
    finally:
        server.shutdown()
        server.server_close()
    assert (fetched.path / "model.joblib").read_bytes() == b"weights"
    assert asked[0].startswith("http://models.s3.amazonaws.com/?list-type=2")


def test_the_metadata_address_is_no_endpoint(fetch):
    with pytest.raises(StorageError, match="link-local"):
        fetch("s3://models/x", of({"AWS_ENDPOINT_URL": "http://169.254.169.254"}, "Secret a/b"))


def test_a_missing_certificate_file_is_named(fetch, s3, given):
    ca = of({"AWS_CA_BUNDLE": "/nowhere/ca.pem"}, "Secret a/b")
    with pytest.raises(
        StorageError, match=r"/nowhere/ca.pem, which Secret a/b names in AWS_CA_BUNDLE, cannot be read"
    ):
        fetch("s3://models/churn/3", ca.over(given))


def test_many_files_many_at_once(fetch, bucket):
    for number in range(300):
        bucket.put_object(Bucket="models", Key=f"many/{number:03}/f.txt", Body=str(number).encode())
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch("s3://models/many"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(found[0].path)) == 300
    assert sorted(one.from_cache for one in found) == [False, True, True]


@pytest.mark.parametrize("seed", range(5))
def test_connections_that_are_cut_at_random_bytes(fetch, given, s3, seed):
    proxy = Proxy(s3.url, limit=sometimes(seed, 0.6, 6 << 20))
    try:
        broken = of({"AWS_ENDPOINT_URL": proxy.url}, "Secret a/b")
        retry = storage.Retry(budget_s=30.0, first_s=0.01, longest_s=0.05)
        fetched = fetch("s3://models/big/model.bin", broken.over(given), retry=retry)
        assert (fetched.path / "model.bin").read_bytes() == BIG
        assert proxy.cut > 0
    finally:
        proxy.close()


def test_a_connection_on_which_nothing_comes_any_more(fetch, given, s3):
    proxy = Proxy(s3.url, limit=sometimes(1, 0.5, 4 << 20), stall=True)
    try:
        slow = of({"AWS_ENDPOINT_URL": proxy.url, "S3_READ_TIMEOUT": "0.5"}, "Secret a/b")
        retry = storage.Retry(budget_s=30.0, first_s=0.01, longest_s=0.05)
        fetched = fetch("s3://models/big/model.bin", slow.over(given), retry=retry)
        assert (fetched.path / "model.bin").read_bytes() == BIG
        assert proxy.cut > 0
    finally:
        proxy.close()


@pytest.fixture
def authority(tmp_path):
    """A certificate of 127.0.0.1 by an authority that nobody knows."""
    for command in (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ours",
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out request.pem -subj /CN=store",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -out cert.pem -days 2 -extfile names",
    ):
        (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context, tmp_path / "ca.pem"


def test_an_authority_of_ones_own(fetch, given, s3, authority):
    context, certificate = authority
    proxy = Proxy(s3.url, context=context)
    try:
        plain = of({"AWS_ENDPOINT_URL": proxy.url}, "Secret a/b").over(given)
        with pytest.raises(
            StorageError,
            match=r"the certificate of .* is not trusted .*Name its authority's file in AWS_CA_BUNDLE",
        ) as failed:
            fetch("s3://models/churn/3", plain)
        assert not failed.value.transient
        trusting = of({"AWS_CA_BUNDLE": str(certificate)}, "Secret a/b").over(plain)
        assert (fetch("s3://models/churn/3", trusting).path / "model.joblib").read_bytes() == b"weights"
        blind = of({"S3_VERIFY_SSL": "0"}, "Secret a/b").over(plain)
        assert (fetch("s3://models/churn/3", blind).path / "model.joblib").read_bytes() == b"weights"
    finally:
        proxy.close()


def test_the_containers_role(fetch, s3):
    """As ECS and EKS Pod Identity hand it out."""

    class Agent(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            body = b'{"AccessKeyId": "key", "SecretAccessKey": "hidden", "Token": "t", "Expiration": "2100-01-01T00:00:00Z"}'
            self.send_response(200 if self.headers.get("Authorization") == "tok" else 403)
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    values = {
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{server.server_port}/creds",
    }
    try:
        fetched = fetch(
            "s3://models/churn/3", of({**values, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "tok"}, "env")
        )
        assert fetched.credential == "the container's role"
        with pytest.raises(StorageError, match="which gives out the role, answered 403"):
            fetch("s3://models/churn/3", of(values, "env"))
        elsewhere = {**values, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example/creds"}
        with pytest.raises(StorageError, match=r"names evil.example over plain http"):
            fetch("s3://models/churn/3", of(elsewhere, "env"))
    finally:
        server.shutdown()
        server.server_close()


def test_aws_tells_where_a_bucket_lies(monkeypatch):
    class Aws(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_HEAD(self):
            self.send_response(301)
            self.send_header("x-amz-bucket-region", "eu-west-1")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Aws)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        monkeypatch.setattr(scheme_s3, "LEGACY", f"http://127.0.0.1:{server.server_port}")
        assert scheme_s3.region_of("models", Context()) == "eu-west-1"
    finally:
        server.shutdown()
        server.server_close()
