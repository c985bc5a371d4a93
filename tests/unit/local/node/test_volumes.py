"""Volumes as folders of this machine: which there are, and which part of one a container sees."""

from __future__ import annotations

import base64

import pytest

from modelport.kube.resource import SECRET
from modelport.local.node import volumes
from modelport.local.node.variables import Missing


def find(kind, name):
    if (kind, name) == (SECRET, "s"):
        return {"data": {"key": base64.b64encode(b"hidden").decode()}}
    return {"data": {"a": "1"}} if name == "c" else None


def make(tmp_path, volume: dict) -> dict:
    container = {"name": "main", "resources": {"limits": {"memory": "64Mi"}}}
    pod = {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": [container], "volumes": [{"name": "v"} | volume]},
    }
    return volumes.make(pod, tmp_path / "volumes", tmp_path / "claims", find)


def mounted(tmp_path, volume: dict, **mount):
    container = {"name": "main", "volumeMounts": [{"name": "v", "mountPath": "/data"} | mount]}
    ((_, place, _),) = volumes.mounts(container, make(tmp_path, volume), {"POD": "p-1"})
    return place


def test_a_part_of_a_volume_that_is_not_there_is_made(tmp_path):
    """As in Kubernetes: on a fresh emptyDir or claim there is no subPath yet, and the container could never start."""
    for volume in ({"emptyDir": {}}, {"persistentVolumeClaim": {"claimName": "models"}}):
        assert mounted(tmp_path, volume, subPath="new/deep").is_dir()
    found = mounted(tmp_path, {"emptyDir": {}}, subPathExpr="logs/$(POD)")
    assert (found.is_dir(), found.name) == (True, "p-1")


@pytest.mark.parametrize(
    ("volume", "mount", "words"),
    [
        ({"configMap": {"name": "c"}}, {"subPath": "b"}, "subPath 'b' is not in volume 'v'"),
        ({"emptyDir": {}}, {"subPath": "m", "readOnly": True}, "subPath 'm' is not in volume 'v'"),
        ({"emptyDir": {}}, {"subPath": "../../x"}, "leads out of the volume"),
    ],
)
def test_a_part_that_cannot_be_made_is_named(tmp_path, volume, mount, words):
    with pytest.raises(Missing, match=words):
        mounted(tmp_path, volume, **mount)


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        ({"nfs": {"server": "1.2.3.4", "path": "/x"}}, "volume 'v': nfs: there is none on this machine"),
        ({"csi": {"driver": "secrets-store.csi.k8s.io"}}, "Use hostPath or persistentVolumeClaim"),
        ({"hostPath": {"path": "/no/such", "type": ""}}, "hostPath /no/such is not there"),
        ({"hostPath": {"path": "/tmp", "type": "Socket"}}, "hostPath /tmp is no socket"),
    ],
)
def test_a_volume_that_there_is_none_of_is_no_empty_folder(tmp_path, volume, words):
    """A model server that finds nothing in /data says anything but why."""
    with pytest.raises(Missing, match=words):
        make(tmp_path, volume)


@pytest.mark.parametrize(
    ("volume", "modes"),
    [
        ({"configMap": {"name": "c", "items": [{"key": "a", "path": "a", "mode": 0o555}]}}, {"a": 0o555}),
        (
            {"secret": {"secretName": "s", "items": [{"key": "key", "path": "k", "mode": 0o400}]}},
            {"k": 0o400},
        ),
        ({"configMap": {"name": "c", "defaultMode": 0o666}}, {"a": 0o666}),
        (
            {
                "projected": {
                    "defaultMode": 0o440,
                    "sources": [{"secret": {"name": "s"}}, {"configMap": {"name": "c"}}],
                }
            },
            {"key": 0o400, "a": 0o440},
        ),
    ],
    ids=["item", "secret", "default", "projected"],
)
def test_files_have_the_mode_that_is_asked_for(tmp_path, volume, modes):
    """A script of a ConfigMap is to be executed; others than the user read no Secret, whatever is asked for."""
    place = make(tmp_path, volume)["v"]
    assert {path: (place / path).stat().st_mode & 0o777 for path in modes} == modes


def test_amounts_become_files(tmp_path):
    reference = {"containerName": "main", "resource": "limits.memory", "divisor": "1Mi"}
    items = {"items": [{"path": "memory", "resourceFieldRef": reference}]}
    for volume in ({"downwardAPI": items}, {"projected": {"sources": [{"downwardAPI": items}]}}):
        assert (make(tmp_path, volume)["v"] / "memory").read_text() == "64"
