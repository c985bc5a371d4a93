"""A container's environment: what it is made from, and the words where that cannot be."""

from __future__ import annotations

import base64
import os

import pytest

from modelport.kube.resource import SECRET
from modelport.local.node.variables import Missing, environment, field_of

RESOURCES = {"limits": {"cpu": "1500m"}, "requests": {"cpu": "250m", "memory": "64Mi"}}
POD = {
    "metadata": {"name": "p", "namespace": "n", "uid": "u"},
    "spec": {"containers": [{"name": "c", "resources": RESOURCES}, {"name": "d"}]},
}


def find(kind, name):
    data = {"plain": b"word", "keystore": b"\0\xff", "latin": b"caf\xe9"}
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"data": encoded} if (kind, name) == (SECRET, "s") else None


def variables(container: dict) -> dict[str, str]:
    return environment(POD, {"name": "c", "resources": RESOURCES} | container, find)


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "requests.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "requests.cpu", "containerName": "d"}, "0"),
        ({"resource": "limits.cpu", "containerName": "d"}, str(os.cpu_count())),
    ],
)
def test_amounts_as_the_downward_api_has_them(reference, value):
    """A server that starts `$(CPUS)` threads must not be told 0 because nobody has limited it."""
    assert variables({"env": [{"name": "A", "valueFrom": {"resourceFieldRef": reference}}]}) == {"A": value}


def test_memory_without_a_limit_is_the_machines():
    reference = {"resource": "limits.memory", "containerName": "d", "divisor": "1Mi"}
    found = variables({"env": [{"name": "A", "valueFrom": {"resourceFieldRef": reference}}]})
    assert int(found["A"]) > 100


def test_annotations_of_several_lines_are_one_line_each():
    """As Kubernetes writes them, so that a program can read the file line by line."""
    pod = POD | {"metadata": POD["metadata"] | {"annotations": {"a": 'x"\ny'}}}
    assert field_of(pod, "metadata.annotations", "") == 'a="x\\"\\ny"'


@pytest.mark.parametrize("key", ["keystore", "latin"])
def test_what_no_variable_can_hold_is_named(key):
    """Changed in silence it would be a wrong password; given as it is, no process can start."""
    one = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": key}}}
    with pytest.raises(Missing, match=f"env A of container c: Secret 's': key '{key}' is not text"):
        variables({"env": [one]})
    with pytest.raises(Missing, match=r"environment of container c: Secret 's': key '.*' is not text"):
        variables({"envFrom": [{"secretRef": {"name": "s"}}]})


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"fieldRef": {"fieldPath": "spec.foo"}}, r"metadata.labels\['NAME'\]"),
        ({"fileKeyRef": {"key": "k", "path": "p", "volumeName": "v"}}, "fileKeyRef is not carried out"),
        ({"secretKeyRef": {"name": "gone", "key": "k"}}, "Secret 'gone' does not exist"),
    ],
)
def test_what_cannot_be_found_is_named(source, words):
    with pytest.raises(Missing, match=words):
        variables({"env": [{"name": "A", "valueFrom": source}]})
