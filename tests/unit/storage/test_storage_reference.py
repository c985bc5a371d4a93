"""docs/reference/storage.md names everything that a user can set or meet."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from modelport.storage import kserve, scheme
from modelport.storage.failure import Reason, Step
from modelport.storage.machine import NAMES
from modelport.storage.settings import Settings, load

DOCS = Path(__file__).parents[3] / "docs"
REFERENCE = (DOCS / "reference" / "storage.md").read_text()
HOW_TO = (DOCS / "how-to" / "storage.md").read_text()


@pytest.mark.parametrize("name", [*Settings.__struct_fields__, *get_args(Reason)])
def test_settings_and_reasons(name):
    assert f"`{name}`" in REFERENCE


@pytest.mark.parametrize("annotation", [one for one, _ in kserve.S3_SETTINGS.values()])
def test_annotations(annotation):
    if annotation != "s3-cabundle-configmap":  # mounted by a cluster's webhook; here the bundle is a file
        assert f"`{annotation}`" in REFERENCE


@pytest.mark.parametrize("name", NAMES)
def test_variables(name):
    shown = REFERENCE + HOW_TO
    aliases = ("AZ_", "DATABRICKS_", "HUGGING_FACE_", "KERBEROS_", "AWS_CONTAINER_", "CA_BUNDLE")
    quiet = (
        "AZURE_SUBSCRIPTION_ID",
        "AZURE_ACCESS_EXPIRES_ON_SECONDS",
        "AZURE_AUTHORITY_HOST",
        "AWS_ROLE_SESSION_NAME",
    )
    quiet += ("AWS_STS_ENDPOINT", "AWS_EC2_METADATA_DISABLED", "AWS_ENDPOINT_URL_S3")
    assert name in shown or name.startswith(aliases) or name in quiet, name


@pytest.mark.parametrize("step", get_args(Step))
def test_steps(step):
    assert step in HOW_TO


def test_each_scheme_has_an_example():
    for uri in (
        "file://",
        "pvc://",
        "https://",
        "s3://",
        "gs://",
        "abfs://",
        "hf://",
        "oci://",
        ".git@",
        "models:/",
        "webhdfs://",
        "modelscope://",
    ):
        assert f"fetch {uri}" in HOW_TO or f": {uri}" in HOW_TO or uri in HOW_TO, uri
    assert len(scheme.known()) >= 13


def test_the_settings_that_the_how_to_shows_are_read(tmp_path):
    (tmp_path / "storage.yaml").write_text(
        "cache: /srv/cache\nlimit: 200Gi\nmirrors: {'gs://a/': 'file:///srv/'}\nunsafe: deny\ntrusted: [s3://models/]\n"
        "signature: {public_key: ~/keys/models.pub}\n"
    )
    found = load(tmp_path / "storage.yaml")
    assert (found.limit_bytes, found.table[0].prefix, found.policy.unsafe) == (200 << 30, "gs://a/", "deny")
    assert found.policy.trusts("s3://models/churn")
    assert not found.policy.trusts("s3://models-of-others/churn")
    assert found.policy.signer.public_key == Path("~/keys/models.pub").expanduser()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("limit: lots\n", "lots"),
        ("unsafe: maybe\n", "maybe"),
        ("cach: x\n", "unknown field `cach`"),
        ("- a\n", "Expected `object`"),
    ],
)
def test_a_mistake_in_the_settings_is_told_with_the_file(tmp_path, text, words):
    path = tmp_path / "storage.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as wrong:
        load(path)
    assert str(path) in str(wrong.value)
