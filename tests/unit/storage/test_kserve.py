"""Credentials in KServe's forms, from objects as the API has them."""

from __future__ import annotations

import base64
import json

import pytest

from modelport.storage import StorageError
from modelport.storage.kserve import Settings, from_objects, of_pull_secrets, storage_spec, unusable


def secret(name: str, data: dict[str, str], annotations: dict[str, str] | None = None) -> dict:
    return {
        "metadata": {"name": name, "namespace": "team", "annotations": annotations or {}},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def account(*secrets: str, annotations: dict[str, str] | None = None) -> dict:
    return {
        "metadata": {"name": "trainer", "namespace": "team", "annotations": annotations or {}},
        "secrets": [{"name": name} for name in secrets],
    }


S3 = {"awsAccessKeyID": "key", "awsSecretAccessKey": "hidden"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (S3, {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden"}),
        (
            {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden"},
            {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden"},
        ),
        ({"gcloud-application-credentials.json": "{}"}, {"gcloud-application-credentials.json": "{}"}),
        (
            {"AZ_CLIENT_ID": "c", "AZ_TENANT_ID": "t", "AZ_CLIENT_SECRET": "s"},
            {"AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_SECRET": "s"},
        ),
        ({"AZURE_STORAGE_ACCESS_KEY": "k"}, {"AZURE_STORAGE_ACCESS_KEY": "k"}),
        ({"https-host": "models.example.com", "headers": "{}"}, {"models.example.com-headers": "{}"}),
        (
            {"HDFS_NAMENODE": "http://nn:9870", "TLS_CA": "pem"},
            {"HDFS_NAMENODE": "http://nn:9870", "TLS_CA": "pem"},
        ),
        ({"HF_TOKEN": "hf_x\n"}, {"HF_TOKEN": "hf_x"}),
        ({"HF_ENDPOINT": "http://hub"}, {"HF_ENDPOINT": "http://hub"}),
        ({"MODELSCOPE_API_TOKEN": "ms"}, {"MODELSCOPE_API_TOKEN": "ms"}),
        ({"GIT_USERNAME": "u", "GIT_PASSWORD": "p"}, {"GIT_USERNAME": "u", "GIT_PASSWORD": "p"}),
    ],
)
def test_each_form_of_secret_gives_its_values(data, expected):
    found = from_objects(account("one"), {"one": secret("one", data)})
    assert {name: setting.value.reveal() for name, setting in found.settings.items()} == expected
    assert {setting.source for setting in found.settings.values()} == {"Secret team/one"}


@pytest.mark.parametrize(
    ("annotations", "data", "config", "endpoint"),
    [
        (
            {"serving.kserve.io/s3-endpoint": "minio:9000", "serving.kserve.io/s3-usehttps": "0"},
            {},
            {},
            "http://minio:9000",
        ),
        ({"serving.kserve.io/s3-endpoint": "minio:9000"}, {}, {}, "https://minio:9000"),
        (
            {"serving.kserve.io/s3-endpoint": "http://minio:9000", "serving.kserve.io/s3-usehttps": "1"},
            {},
            {},
            "http://minio:9000",
        ),
        (
            {},
            {"S3_ENDPOINT": "data:9000", "S3_USE_HTTPS": "0"},
            {"s3Endpoint": "config:9000"},
            "http://data:9000",
        ),
        ({}, {}, {"s3Endpoint": "config:9000", "s3UseHttps": "0"}, "http://config:9000"),
        (
            {"serving.kserve.io/s3-endpoint": "a:1"},
            {"S3_ENDPOINT": "b:1"},
            {"s3Endpoint": "c:1"},
            "https://a:1",
        ),
    ],
)
def test_the_endpoint_comes_from_annotation_then_secret_then_config_map(annotations, data, config, endpoint):
    found = from_objects(
        account("one"), {"one": secret("one", {**S3, **data}, annotations)}, settings=Settings(s3=config)
    )
    assert found.get("AWS_ENDPOINT_URL") == endpoint


def test_every_s3_annotation_is_read():
    annotations = {
        "serving.kserve.io/s3-region": "eu-west-1",
        "serving.kserve.io/s3-verifyssl": "0",
        "serving.kserve.io/s3-usevirtualbucket": "true",
        "serving.kserve.io/s3-useaccelerate": "true",
        "serving.kserve.io/s3-useanoncredential": "true",
        "serving.kserve.io/s3-cabundle": "/etc/ca.pem",
        "serving.kserve.io/s3-cabundle-configmap": "ca",
    }
    found = from_objects(account("one"), {"one": secret("one", S3, annotations)})
    assert {name: found.get(name) for name in found.settings} | {} == {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "S3_VERIFY_SSL": "0",
        "S3_USER_VIRTUAL_BUCKET": "true",
        "S3_USE_ACCELERATE": "true",
        "awsAnonymousCredential": "true",
        "AWS_CA_BUNDLE": "/etc/ca.pem",
        "AWS_CA_BUNDLE_CONFIGMAP": "ca",
    }


def test_a_role_of_the_account_needs_no_keys_and_keys_go_over_it():
    given = account("one", annotations={"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/models"})
    assert from_objects(given, {}).get("AWS_ROLE_ARN") == "arn:aws:iam::1:role/models"
    assert from_objects(given, {"one": secret("one", S3)}).get("AWS_ACCESS_KEY_ID") == "key"


def test_all_secrets_apply_and_two_that_disagree_are_told():
    """Else a user hunts for hours why the key that he sees is not the one in use."""
    found = from_objects(
        account("one", "hf", "two"),
        {
            "one": secret("one", S3),
            "two": secret("two", {**S3, "awsAccessKeyID": "other"}),
            "hf": secret("hf", {"HF_TOKEN": "t"}),
        },
    )
    assert (found.get("AWS_ACCESS_KEY_ID"), found.get("HF_TOKEN")) == ("other", "t")
    assert found.conflicts == (
        "Secret team/one and Secret team/two both give AWS_ACCESS_KEY_ID; what Secret team/two says is used",
    )
    assert "other" not in repr(found)


def test_an_annotation_chooses_one_secret():
    found = from_objects(
        account("one"),
        {"one": secret("one", S3), "two": secret("two", {"HF_TOKEN": "t"})},
        annotations={"serving.kserve.io/storageSecretName": "two"},
    )
    assert sorted(found.settings) == ["HF_TOKEN"]


def test_secrets_that_give_nothing_are_named():
    given = account("gone", "odd")
    assert unusable(given, {"odd": secret("odd", {"foo": "bar"})}) == [
        "Secret gone, which the ServiceAccount names, does not exist",
        "Secret odd is of no form that storage knows; its keys: foo",
    ]


CONFIG = {
    "minio": json.dumps(
        {
            "type": "s3",
            "bucket": "models",
            "access_key_id": "k",
            "secret_access_key": "s",
            "endpoint_url": "http://minio:9000",
        }
    ),
    "default_s3": json.dumps({"type": "s3", "bucket": "fallback", "anonymous": "true"}),
    "default": json.dumps({"type": "webhdfs", "HDFS_NAMENODE": "http://nn:9870"}),
}


def test_a_storage_key_gives_uri_and_credentials():
    found = storage_spec("churn/3", secret("storage-config", CONFIG), key="minio")
    assert found.uri == "s3://models/churn/3"
    assert found.credentials.get("AWS_ENDPOINT_URL") == "http://minio:9000"
    assert found.credentials.source("AWS_ACCESS_KEY_ID") == "key minio of Secret team/storage-config"


def test_certificates_of_hdfs_are_base64_there():
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    packed = base64.encodebytes(pem.encode()).decode()
    given = {
        "type": "hdfs",
        "HDFS_NAMENODE": "https://nn:9871",
        "TLS_CA": packed,
        "TLS_CERT": "/etc/cert.pem",
    }
    found = storage_spec("churn", secret("storage-config", {"default": json.dumps(given)})).credentials
    assert found.get("TLS_CA") == pem
    assert found.get("TLS_CERT") == "/etc/cert.pem"


@pytest.mark.parametrize(
    ("key", "parameters", "uri"),
    [
        (None, {}, "webhdfs://churn"),
        (None, {"type": "s3"}, "s3://fallback/churn"),
        ("minio", {"bucket": "other"}, "s3://other/churn"),
        (None, {"type": "s3", "bucket": "mine"}, "s3://mine/churn"),
    ],
)
def test_defaults_and_parameters_as_in_kserve(key, parameters, uri):
    assert (
        storage_spec(
            "<scheme-placeholder>://churn", secret("storage-config", CONFIG), key=key, parameters=parameters
        ).uri
        == uri
    )


@pytest.mark.parametrize(
    ("data", "key", "parameters", "words"),
    [
        (CONFIG, "nothing", {}, "specified storage key nothing not found in storage secret storage-config"),
        ({}, None, {}, "unable to determine storage type"),
        ({"default": "{"}, None, {}, "invalid json encountered in key default"),
        ({"default": '{"type": "ftp"}'}, None, {}, r"storage type \[ftp\] is not supported"),
        ({"default": '{"type": "s3"}'}, None, {}, r"format \[s3\] requires a bucket"),
    ],
)
def test_mistakes_are_told_in_kserves_words(data, key, parameters, words):
    with pytest.raises(StorageError, match=words):
        storage_spec("churn", secret("storage-config", data), key=key, parameters=parameters)


def test_pull_secrets_are_taken_in_their_order():
    one, two = (secret(name, {".dockerconfigjson": name}) for name in ("one", "two"))
    assert of_pull_secrets([one, two]).get(".dockerconfigjson") == "one"
