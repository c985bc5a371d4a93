"""What can be wrong with a model's URI and its credential, told where a user looks: condition, event, `describe`.

A store with users and a policy, a real platform, and a cache on a disk of 64 MiB.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pytest
import stores
from node_platform import Platform, running
from sklearn.dummy import DummyRegressor

from modelport.kinds.inferenceservice import INFERENCE_SERVICE
from modelport.kube.resource import EVENT, SECRET, SERVICE_ACCOUNT, Object

boto3 = pytest.importorskip("boto3")
pytestmark = pytest.mark.skipif(
    not os.environ.get("MODELPORT_STORAGE_TOOLS"), reason="stores of other toolchains: run tests/storage.sh"
)

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": ["alice"]},
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::models", "arn:aws:s3:::models/*"],
        }
    ],
}


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stores.Store]:
    """versitygw: alice may read the bucket `models`, bob nothing."""
    folder = tmp_path_factory.mktemp("versitygw")
    (folder / "root").mkdir()
    (folder / "iam").mkdir()
    program, port = stores.tool("bin", "versitygw"), stores.free_port()
    access = ["--access", "root", "--secret", "rootsecret"]
    server = stores.Store(
        [program, "--port", f"127.0.0.1:{port}", *access, "--iam-dir", folder / "iam", "--quiet", "posix", folder / "root"],
        f"http://127.0.0.1:{port}",
        log=folder / "log",
    )  # fmt: skip
    for user in ("alice", "bob"):
        words = ["create-user", "--access", user, "--secret", f"{user}secret", "--role", "user"]
        subprocess.run([program, "admin", *access, "--endpoint-url", server.url, *words], check=True)
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="root",
        aws_secret_access_key="rootsecret",
    )
    file = io.BytesIO()
    joblib.dump(DummyRegressor(strategy="constant", constant=1.0).fit(np.zeros((2, 2)), [0.0, 1.0]), file)
    for bucket in ("models", "private"):
        client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key="churn/3/model.joblib", Body=file.getvalue())
    client.put_object(Bucket="models", Key="large/model.joblib", Body=bytes(100 << 20))
    client.put_bucket_policy(Bucket="models", Policy=json.dumps(POLICY))
    yield server
    server.close()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, s3: stores.Store) -> Iterator[Platform]:
    """One whose cache is a small disk of its own, where this user may mount one."""
    folder = tmp_path_factory.mktemp("troubles") / "platform"
    cache = folder / "cache"
    cache.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", cache], check=False)
    try:
        with running(folder) as found:
            secrets = {"alice": "alicesecret", "bob": "bobsecret", "wrong": "nobody"}
            for name, hidden in secrets.items():
                key = "alice" if name == "wrong" else name
                found.apply(SECRET, secret(name, key, hidden, s3.host))
                found.apply(SERVICE_ACCOUNT, account(name, name))
            found.apply(SERVICE_ACCOUNT, account("both", "alice", "bob"))
            found.apply(SERVICE_ACCOUNT, account("other", "bob", "alice"))
            yield found
    finally:
        if cache.is_mount():
            subprocess.run(["umount", "-l", cache], check=True)


def secret(name: str, key: str, hidden: str, host: str) -> Object:
    annotations = {"s3-endpoint": host, "s3-usehttps": "0", "s3-region": "us-east-1"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": "default",
            "annotations": {f"serving.kserve.io/{word}": value for word, value in annotations.items()},
        },
        "stringData": {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": hidden},
    }


def account(name: str, *secrets: str) -> Object:
    meta = {"name": name, "namespace": "default"}
    listed = [{"name": one} for one in secrets]
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta, "secrets": listed}


def deploy(platform: Platform, name: str, uri: str, who: str) -> None:
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": uri}
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"predictor": {"serviceAccountName": who, "model": model}},
    }
    platform.apply(INFERENCE_SERVICE, service)


def condition(platform: Platform, name: str) -> dict[str, Any]:
    found = platform.ask(lambda client: client.get(INFERENCE_SERVICE, "default", name))
    listed = found.get("status", {}).get("conditions", [])
    return next((one for one in listed if one["type"] == "PredictorReady"), {})


@pytest.mark.parametrize(
    ("name", "uri", "who", "words"),
    [
        ("no-bucket", "s3://nowhere/churn/3", "alice", ["list: there is no bucket nowhere", "endpoint"]),
        ("no-right", "s3://private/churn/3", "bob", ["authenticate", "bucket private", "Give the credential the right"]),
        ("no-key", "s3://models/churn/4", "alice", ["list: there is no model", "typing errors"]),
        ("wrong-secret", "s3://models/churn/3", "wrong", ["authenticate", "the secret key does not belong to the access key"]),
        ("two", "s3://models/churn/3", "both", [
            "authenticate", "Note: Secret default/alice and Secret default/bob both give AWS_ACCESS_KEY_ID and ",
            "AWS_SECRET_ACCESS_KEY; what Secret default/bob says is used",
        ]),
        ("full", "s3://models/large", "alice", ["write: the model needs 100.0 MiB", "modelport storage prune"]),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" not in value else "",
)  # fmt: skip
def test_trouble_is_told_with_uri_step_credential_and_what_to_do(
    platform: Platform, name: str, uri: str, who: str, words: list[str]
):
    """Users of KServe find such a failure in an init container's traceback, if at all."""
    if name == "full" and not (platform.folder / "cache").is_mount():
        pytest.skip("this user may mount no small disk")
    deploy(platform, name, uri, who)
    found = platform.until(
        f"{name} ModelLoadFailed",
        lambda: (
            condition(platform, name)
            if condition(platform, name).get("reason") == "ModelLoadFailed"
            else None
        ),
    )
    used = "bob" if who == "both" else who
    words = [uri, f"with the access key of Secret default/{used}", *words]
    described = platform.modelport("describe", name)
    told = platform.until(f"event of {name}", lambda: platform.events(name).get("ModelLoadFailed"))
    for word in words:
        assert word in found["message"]
        assert word in told
        assert word in described
    assert f"{who}secret" not in f"{found}{told}{described}"
    platform.ask(lambda client: client.delete(INFERENCE_SERVICE, "default", name))


def test_two_credentials_that_disagree_are_told_even_where_it_works(platform: Platform):
    """Whoever rotates one Secret of two must see which one counts."""
    deploy(platform, "works", "s3://models/churn/3", "other")
    platform.modelport("wait", "isvc/works", "--timeout", "120")

    def told() -> str | None:
        events = platform.ask(lambda client: client.list(EVENT, "default")).items
        return next((one["message"] for one in events if one["reason"] == "CredentialConflict"), None)

    message = platform.until("event CredentialConflict", told)
    assert "Secret default/bob and Secret default/alice both give AWS_ACCESS_KEY_ID" in message
    assert "what Secret default/alice says is used" in message
    assert "CredentialConflict" in platform.modelport("describe", "works")
