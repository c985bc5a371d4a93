"""Files that are made from Secrets and ConfigMaps, and follow them."""

from __future__ import annotations

import base64
import threading

import pytest

from modelport.local.node import projection, volumes
from modelport.local.node.variables import Missing


def files(**texts: str) -> dict[str, tuple[bytes, int]]:
    return {name.replace("__", "/"): (text.encode(), 0o600) for name, text in texts.items()}


def seen(folder) -> dict[str, str]:
    """What a program sees that lists the folder."""
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_files_come_change_and_go(tmp_path):
    assert projection.publish(tmp_path, files(a="1", b="2"))
    assert seen(tmp_path) == {"a": "1", "b": "2"}
    assert not projection.publish(tmp_path, files(a="1", b="2")), "nothing has changed"
    assert projection.publish(tmp_path, files(b="3", sub__c="4"))
    assert seen(tmp_path) == {"b": "3"}
    assert (tmp_path / "sub" / "c").read_text() == "4"
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("..")]) == 2, (
        "old ones are removed"
    )
    assert projection.publish(tmp_path, {})
    assert seen(tmp_path) == {}


def test_a_reader_sees_all_of_the_old_files_or_all_of_the_new(tmp_path):
    """Certificate and key of two different days end a TLS server."""
    projection.publish(tmp_path, files(cert="0", key="0"))
    stop = threading.Event()

    def change() -> None:
        for number in range(1, 200):
            projection.publish(tmp_path, files(cert=str(number), key=str(number)))
        stop.set()

    thread = threading.Thread(target=change)
    thread.start()
    while not stop.is_set():
        moment = (tmp_path / projection.DATA).resolve()
        try:
            pair = {(moment / name).read_text() for name in ("cert", "key")}
        except FileNotFoundError:
            continue  # two changes since: a reader begins again
        assert len(pair) == 1
    thread.join()
    assert seen(tmp_path) == {"cert": "199", "key": "199"}


def test_files_keep_their_mode(tmp_path):
    projection.publish(tmp_path, {"run.sh": (b"#!/bin/sh\n", 0o700), "x": (b"", 0o400)})
    assert (tmp_path / "run.sh").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o400


def pod(*given: dict) -> dict:
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "x"}},
        "spec": {"volumes": list(given), "containers": []},
    }


OBJECTS = {
    ("Secret", "s"): {"data": {"key": base64.b64encode(b"hidden").decode()}},
    ("ConfigMap", "c"): {
        "data": {"a": "1", "b": "2"},
        "binaryData": {"bin": base64.b64encode(b"\0").decode()},
    },
}


def find(resource, name):
    return OBJECTS.get((resource.kind, name))


@pytest.mark.parametrize(
    ("volume", "content"),
    [
        ({"secret": {"secretName": "s"}}, {"key": b"hidden"}),
        ({"configMap": {"name": "c"}}, {"a": b"1", "b": b"2", "bin": b"\0"}),
        ({"configMap": {"name": "c", "items": [{"key": "a", "path": "x"}]}}, {"x": b"1"}),
        ({"configMap": {"name": "gone", "optional": True}}, {}),
        (
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"labels": b'app="x"'},
        ),
        (
            {
                "projected": {
                    "sources": [
                        {"secret": {"name": "s"}},
                        {"configMap": {"name": "c", "items": [{"key": "b", "path": "b"}]}},
                    ]
                }
            },
            {"key": b"hidden", "b": b"2"},
        ),
        ({"emptyDir": {}}, {}),
    ],
    ids=["secret", "configmap", "items", "optional", "downward", "projected", "empty"],
)
def test_what_a_volume_holds(tmp_path, volume, content):
    places = volumes.make(pod({"name": "v"} | volume), tmp_path / "volumes", tmp_path / "claims", find)
    assert {path.name: path.read_bytes() for path in places["v"].iterdir() if path.is_file()} == content


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        ({"secret": {"secretName": "gone"}}, "volume 'v': Secret 'gone' does not exist. Create it."),
        (
            {"configMap": {"name": "c", "items": [{"key": "z", "path": "z"}]}},
            "volume 'v': ConfigMap 'c' has no key 'z'. Add it, or name one of its keys: a, b, bin.",
        ),
        ({"hostPath": {"path": "/no/such", "type": "Directory"}}, "hostPath /no/such is no directory"),
    ],
    ids=["secret", "key", "hostpath"],
)
def test_what_is_missing_is_named(tmp_path, volume, words):
    with pytest.raises(Missing) as missing:
        volumes.make(pod({"name": "v"} | volume), tmp_path / "volumes", tmp_path / "claims", find)
    assert words in str(missing.value)


def test_what_is_emptied_by_hand_is_no_matter_for_an_empty_dir(tmp_path):
    some = pod({"name": "v", "emptyDir": {}})
    place = volumes.make(some, tmp_path / "volumes", tmp_path / "claims", find)["v"]
    (place / "mine").write_text("kept")
    volumes.make(some, tmp_path / "volumes", tmp_path / "claims", find)
    assert (place / "mine").read_text() == "kept"
