"""ClusterStorageContainer: models of schemes of one's own are fetched by the container that says it can."""

from __future__ import annotations

import msgspec
import pytest

from modelport.kinds.clusterstoragecontainer import StorageContainer, StorageContainerSpec
from modelport.kinds.problem import Problem
from modelport.render.storage_container import choose, merged


def known(name, *prefixes, disabled=False, **more):
    spec = {
        "container": {
            "name": "fetch",
            "image": "mine",
            "command": ["fetch"],
            "env": [{"name": "A", "value": "1"}],
        },
        "supportedUriFormats": [{"prefix": prefix} for prefix in prefixes],
    }
    return StorageContainer(
        name=name, disabled=disabled, spec=msgspec.convert(spec | more, StorageContainerSpec)
    )


def test_the_first_by_name_that_fetches_the_uri_is_taken():
    ones = [
        known("b", "model-registry://"),
        known("a", "model-registry://"),
        known("c", "s3://", disabled=True),
    ]
    found = choose(["model-registry://m/1"], None, ones)
    assert isinstance(found, StorageContainer)
    assert found.name == "a"
    assert choose(["s3://b/m"], None, ones) is None, "the platform does what nobody enabled does"


@pytest.mark.parametrize(
    ("uris", "name", "words"),
    [
        (["x://m"], "gone", "does not exist"),
        (["x://m"], "off", "is disabled"),
        (["x://m"], "job", "workloadType localModelDownloadJob"),
        (["y://m"], "x", "does not fetch 'y://m'"),
        (["x://m", "x://n"], None, "one model at a time"),
        (["x://m", "y://n"], "several", "does not fetch 'y://n'"),
    ],
)
def test_one_that_cannot_is_refused_in_words(uris, name, words):
    ones = [
        known("off", "x://", disabled=True),
        known("job", "x://", workloadType="localModelDownloadJob"),
        known("several", "z://", "x://", supportsMultiModelDownload=True),
        known("x", "x://"),
    ]
    if name is None:
        ones = ones[-1:]
    found = choose(uris, name, ones)
    assert isinstance(found, Problem)
    assert words in found.message
    assert found.field == "storageContainerName"


def test_name_and_arguments_stay_and_variables_come_together():
    """The contract with the container is its arguments: URI and folder."""
    initializer = {
        "name": "storage-initializer",
        "image": "ours",
        "args": ["x://m", "/mnt/models"],
        "env": [{"name": "A", "value": "0"}, {"name": "HF_TOKEN", "value": "t"}],
        "volumeMounts": [{"name": "v", "mountPath": "/mnt/models"}],
    }
    found = merged(
        initializer,
        known(
            "a",
            "x://",
            container={
                "name": "fetch",
                "image": "mine",
                "command": ["fetch"],
                "args": ["never"],
                "env": [{"name": "A", "value": "1"}],
            },
        ),
    )
    assert (found["name"], found["image"], found["command"]) == ("storage-initializer", "mine", ["fetch"])
    assert found["args"] == ["x://m", "/mnt/models"]
    assert found["env"] == [{"name": "A", "value": "1"}, {"name": "HF_TOKEN", "value": "t"}]
    assert found["volumeMounts"] == [{"name": "v", "mountPath": "/mnt/models"}]
