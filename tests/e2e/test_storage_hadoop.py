"""`webhdfs://` and `hdfs://` against Hadoop itself: two namenodes and two datanodes, as processes that can be killed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from hadoop import BLOCK, Hadoop
from node_platform import running
from test_storage_services import Case, model, predicted

from modelport import storage
from modelport.storage import StorageError
from modelport.storage.credentials import of
from modelport.storage.scheme import hdfs

BIG = os.urandom(BLOCK) * 40
NAMES = ("mit Leerzeichen & Prozent 100%.txt", "größe/模型 + ein=s.bin", "a;b,c/d#e?f.txt", "[x]{y}'z\".txt")


@pytest.fixture(scope="module")
def hadoop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hadoop]:
    cluster = Hadoop(tmp_path_factory.mktemp("hadoop"))
    try:
        cluster.until_live()
        cluster.put("/models/churn/model.joblib", b"weights")
        cluster.put("/models/churn/sub/deep/a.txt", b"a")
        cluster.put("/models/churn/empty.txt", b"")
        cluster.put("/models/big/big.bin", BIG)
        for name in NAMES:
            cluster.put(f"/models/odd names/{name}", name.encode())
        cluster.put("/private/model.joblib", b"secret")
        cluster.call("PUT", "/private", "SETPERMISSION", permission="700")
        cluster.call("PUT", "/models/none", "MKDIRS")
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def fetch(tmp_path, hadoop):
    def bound(uri, *, budget_s=20.0, **values):
        given = of({"HDFS_NAMENODE": hadoop.namenodes, **values}, "Secret default/hdfs")
        retry = storage.Retry(budget_s=budget_s, first_s=0.05)
        cache = storage.Cache(tmp_path / "cache")
        return storage.fetch(uri, cache=cache, credentials=given, retry=retry)

    return bound


def files(path) -> dict[str, bytes]:
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


@pytest.fixture
def midway(monkeypatch):
    """Has something happen while a file is read: after the first bytes, before the others."""

    def bound(action):
        real, lock, left = hdfs.reader, threading.Lock(), [action]

        def reader(*words, **more):
            read = real(*words, **more)

            def halting(start, stop):
                for chunk in read(start, stop):
                    yield chunk
                    with lock:
                        if left:
                            left.pop()()

            return halting

        monkeypatch.setattr(hdfs, "reader", reader)
        return left

    return bound


@pytest.mark.parametrize("scheme", ["webhdfs", "hdfs"])
def test_a_folder_and_a_file_by_the_active_namenode(fetch, scheme):
    churn = {"model.joblib": b"weights", "sub/deep/a.txt": b"a", "empty.txt": b""}
    assert files(fetch(f"{scheme}://models/churn").path) == churn
    assert files(fetch(f"{scheme}://models/churn/model.joblib").path) == {"model.joblib": b"weights"}
    assert fetch(f"{scheme}://models/churn").from_cache


def test_the_namenode_in_the_uri(fetch, hadoop):
    host = hadoop.url("one").partition("://")[2]
    assert files(fetch(f"webhdfs://{host}/models/churn/sub", HDFS_NAMENODE="").path) == {"deep/a.txt": b"a"}
    rpc = f"127.0.0.1:{hadoop.ports['one'][0]}"
    assert files(fetch(f"hdfs://{rpc}/models/churn/sub").path) == {
        "deep/a.txt": b"a"
    }  # as `hdfs` itself has it


def test_root_paths(fetch, hadoop):
    assert files(fetch("hdfs://churn/sub", HDFS_ROOTPATH="/models").path) == {"deep/a.txt": b"a"}
    hadoop.put("/user/ana/mine/m.txt", b"ana's")
    assert files(fetch("hdfs://m.txt", HDFS_ROOTPATH="mine", USER_PROXY="ana").path) == {"m.txt": b"ana's"}


def test_names_of_every_kind(fetch):
    assert files(fetch("webhdfs://models/odd names").path) == {name: name.encode() for name in NAMES}
    assert files(fetch(f"webhdfs://models/odd names/{NAMES[0]}").path) == {NAMES[0]: NAMES[0].encode()}


def test_a_file_of_many_blocks(fetch):
    assert files(fetch("webhdfs://models/big").path) == {"big.bin": BIG}


def test_what_is_wrong_is_told(fetch, hadoop):
    with pytest.raises(
        StorageError, match=r"webhdfs://models/nine: list: HDFS has no /models/nine"
    ) as failed:
        fetch("webhdfs://models/nine")
    assert failed.value.reason == "NotFound"
    with pytest.raises(StorageError, match=r"there is no model: nothing lies there"):
        fetch("webhdfs://models/none")
    for user, named in (("bob", "bob"), ("", "an unnamed user")):
        with pytest.raises(
            StorageError, match=rf"HDFS does not let {named} read /private.*Permission denied"
        ) as failed:
            fetch("webhdfs://private", USER_PROXY=user)
        assert failed.value.reason == "PermissionDenied"
        assert failed.value.credential == "Secret default/hdfs"
    assert files(fetch("webhdfs://private", USER_PROXY=hadoop.users["user.name"]).path) == {
        "model.joblib": b"secret"
    }
    with pytest.raises(StorageError, match=r"READ is not supported in state standby") as failed:
        fetch("webhdfs://models/churn", HDFS_NAMENODE=hadoop.url("two"), budget_s=0.5)
    assert failed.value.transient


def test_an_inference_service(hadoop, tmp_path):
    """Its namenodes come from a Secret, as with KServe."""
    hadoop.put("/models/served/model.joblib", model(11.0))
    with running(tmp_path / "platform") as platform:
        secret = {"HDFS_NAMENODE": hadoop.namenodes, "USER_PROXY": hadoop.users["user.name"]}
        assert predicted(platform, "hadoop", Case("hdfs://models/served", secret=secret)) == 11.0


def test_a_file_that_is_replaced_while_it_is_read(fetch, hadoop, midway):
    hadoop.put("/models/moving/m.bin", BIG)
    other = bytes(reversed(BIG))
    left = midway(lambda: hadoop.put("/models/moving/m.bin", other))
    assert files(fetch("webhdfs://models/moving").path) == {"m.bin": other}
    assert not left


def test_a_datanode_is_killed_while_it_is_read(fetch, hadoop, midway):
    hadoop.put("/models/dying/m.bin", BIG)
    left = midway(lambda: hadoop.daemons.pop("data-2").close())
    try:
        assert files(fetch("webhdfs://models/dying").path) == {"m.bin": BIG}
        assert not left
        assert files(fetch("webhdfs://models/big").path) == {"big.bin": BIG}  # both had its blocks
        hadoop.daemons.pop("data-3").close()
        with pytest.raises(StorageError, match="which is the budget for retries") as failed:
            fetch("webhdfs://models/churn", budget_s=1.0)
        assert failed.value.transient
    finally:
        for number in (2, 3):
            if f"data-{number}" not in hadoop.daemons:
                hadoop.datanode(number)
        hadoop.until_live()


def test_the_other_namenode_takes_over(fetch, hadoop, midway):
    hadoop.put("/models/failing/m.bin", BIG)

    def fail_over():
        hadoop.daemons.pop("one").close()
        hadoop.activate("two")

    left = midway(fail_over)
    assert files(fetch("webhdfs://models/failing", budget_s=60.0).path) == {"m.bin": BIG}
    assert not left
