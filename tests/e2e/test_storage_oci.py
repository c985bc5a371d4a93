"""`oci://` against a real registry (go-containerregistry's), filled by its own crane and by hand."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import urllib.request

import pytest
import stores

from modelport import storage
from modelport.storage import StorageError
from modelport.storage.credentials import of

BIG = os.urandom(1 << 20) * 20
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    port = stores.free_port()
    server = stores.Store(
        [stores.tool("bin", "crane"), "registry", "serve", "--address", f"127.0.0.1:{port}"],
        f"http://127.0.0.1:{port}",
        log=tmp_path_factory.mktemp("registry") / "log",
        ready="/v2/",
    )
    yield server
    server.close()


def send(url: str, body: bytes, kind: str, method: str = "PUT") -> str:
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind})
    return urllib.request.urlopen(request).headers.get("Location", "")


def push_blob(registry, repository: str, body: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    place = send(f"{registry.url}/v2/{repository}/blobs/uploads/", b"", "application/octet-stream", "POST")
    place = place if place.startswith("http") else registry.url + place
    send(f"{place}{'&' if '?' in place else '?'}digest={digest}", body, "application/octet-stream")
    return digest


def push(registry, name: str, layers, *, kind: str = MANIFEST, tag: str = "v1", more=None) -> str:
    """An image or artifact of (media type, bytes, annotations)."""
    config = push_blob(registry, name, b"{}")
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [
            {
                "mediaType": media,
                "digest": push_blob(registry, name, body),
                "size": len(body),
                "annotations": annotations,
            }
            for media, body, annotations in layers
        ],
        **(more or {}),
    }
    body = json.dumps(manifest).encode()
    send(f"{registry.url}/v2/{name}/manifests/{tag}", body, kind)
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def tar(members: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname, content = tarfile.SYMTYPE, content, b""
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def fetch(tmp_path):
    def bound(uri, values=None, **more):
        more.setdefault("retry", storage.Retry(budget_s=1.0, first_s=0.01))
        return storage.fetch(
            uri,
            cache=storage.Cache(tmp_path / "cache"),
            credentials=of(values or {}, "Secret default/pull"),
            **more,
        )

    return bound


def files(path) -> dict[str, bytes]:
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


@pytest.mark.parametrize("scheme", ["oci", "oci+native", "oci+fetch"])
def test_a_modelcar_built_by_crane(registry, fetch, tmp_path, scheme):
    layer = tmp_path / "layer.tar"
    layer.write_bytes(
        tar({"models/model.joblib": b"weights", "etc/passwd": b"root", "models/sub/a.txt": b"a"})
    )
    subprocess.run(
        [stores.tool("bin", "crane"), "append", "--insecure", "-f", layer, "-t", f"{registry.host}/car:1"],
        check=True,
        capture_output=True,
    )
    fetched = fetch(f"{scheme}://{registry.host}/car:1")
    assert files(fetched.path) == {"model.joblib": b"weights", "sub/a.txt": b"a"}
    assert fetch(f"{scheme}://{registry.host}/car:1").from_cache


def zstandard(content: bytes) -> bytes:
    from backports import zstd

    return zstd.compress(content)


@pytest.mark.parametrize(
    ("ending", "pack"),
    [("", bytes), ("+gzip", gzip.compress), ("+zstd", zstandard)],
    ids=["tar", "gzip", "zstd"],
)
def test_every_compression_of_layers(registry, fetch, ending, pack):
    """KServe's initializer turns zstd layers away."""
    push(registry, "packed", [(LAYER + ending, pack(tar({"models/m.onnx": b"weights"})), {})])
    assert files(fetch(f"oci://{registry.host}/packed:v1").path) == {"m.onnx": b"weights"}


def test_later_layers_replace_and_remove(registry, fetch):
    push(
        registry,
        "layers",
        [
            (LAYER, tar({"models/a": b"old", "models/b": b"b", "models/d/x": b"x", "models/e/y": b"y"}), {}),
            (
                LAYER,
                tar(
                    {
                        "models/a": b"new",
                        "models/.wh.b": b"",
                        "models/d/.wh..wh..opq": b"",
                        "models/d/z": b"z",
                    }
                ),
                {},
            ),
            (LAYER, tar({"models/latest": "/models/a"}), {}),
        ],
    )
    fetched = fetch(f"oci://{registry.host}/layers:v1")
    assert files(fetched.path) == {"a": b"new", "d/z": b"z", "e/y": b"y", "latest": b"new"}
    assert (fetched.path / "latest").is_symlink()


def test_the_platform_of_this_machine_is_chosen(registry, fetch):
    entries = [
        {
            "mediaType": MANIFEST,
            "digest": push(registry, "multi", [(LAYER, tar({f"models/{name}": b"x"}), {})], tag=name),
            "size": 1,
            "platform": {"os": os_name, "architecture": name},
        }
        for os_name, name in (("linux", "amd64"), ("linux", "arm64"), ("unknown", "unknown"))
    ]
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    send(f"{registry.url}/v2/multi/manifests/all", body, INDEX)
    import platform

    name = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    assert sorted(files(fetch(f"oci://{registry.host}/multi:all").path)) == [name]
    send(
        f"{registry.url}/v2/multi/manifests/other",
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": INDEX,
                "manifests": [{**entries[0], "platform": {"os": "linux", "architecture": "s390x"}}],
            }
        ).encode(),
        INDEX,
    )
    with pytest.raises(StorageError, match=r"no manifest for linux/\w+; it has linux/s390x"):
        fetch(f"oci://{registry.host}/multi:other")


def test_an_artifact_with_titles(registry, fetch):
    """As `oras push` leaves it: files, and folders as tar."""
    title = "org.opencontainers.image.title"
    push(
        registry,
        "artifact",
        [
            ("application/octet-stream", BIG, {title: "model.bin"}),
            ("application/json", b"{}", {title: "config/config.json"}),
        ],
    )
    assert files(fetch(f"oci://{registry.host}/artifact:v1").path) == {
        "model.bin": BIG,
        "config/config.json": b"{}",
    }
    push(
        registry,
        "folder",
        [
            ("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(tar({"churn/m.onnx": b"w"})), {title: "churn", "io.deis.oras.content.unpack": "true"}),
            ("application/octet-stream", b"r", {title: "README.md"}),
        ],
    )  # fmt: skip
    assert files(fetch(f"oci://{registry.host}/folder:v1").path) == {"churn/m.onnx": b"w", "README.md": b"r"}


def test_by_digest(registry, fetch):
    digest = push(registry, "pinned", [(LAYER, tar({"models/m": b"1"}), {})])
    push(registry, "pinned", [(LAYER, tar({"models/m": b"2"}), {})])
    assert files(fetch(f"oci://{registry.host}/pinned@{digest}").path) == {"m": b"1"}
    assert files(fetch(f"oci://{registry.host}/pinned:v1").path) == {"m": b"2"}


def test_an_image_without_models_and_no_image(registry, fetch):
    push(registry, "base", [(LAYER, tar({"etc/passwd": b"root", "usr/bin/x": b"x"}), {})])
    with pytest.raises(StorageError, match="no folder /models; it has etc, usr"):
        fetch(f"oci://{registry.host}/base:v1")
    with pytest.raises(StorageError, match=r"has no nothing:v1.* Check the repository") as failed:
        fetch(f"oci://{registry.host}/nothing:v1")
    assert failed.value.reason == "NotFound"


@pytest.mark.parametrize("members", [{"models/l": "/etc/passwd"}, {"models/l": "../../etc"}])
def test_an_image_cannot_reach_out(registry, fetch, members):
    push(registry, "evil", [(LAYER, tar(members), {})])
    with pytest.raises(StorageError, match="outside the model's folder"):
        fetch(f"oci://{registry.host}/evil:v1")


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """The CNCF's registry, with a user."""
    folder = tmp_path_factory.mktemp("private")
    port = stores.free_port()
    (folder / "htpasswd").write_text(
        "team:$2b$05$3S9McNgOMWc9iXqkwyxMt.l8MlwTXflIOucCvX5zstPac//FnBgXO\n"
    )  # bcrypt of `hidden`
    program = stores.tool("bin", "distribution")
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage: {{inmemory: {{}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\nlog: {{level: error}}\n"
        f"auth: {{htpasswd: {{realm: team, path: {folder}/htpasswd}}}}\n"
    )
    server = stores.Store(
        [program, "serve", folder / "config.yml"],
        f"http://127.0.0.1:{port}",
        log=folder / "log",
        ready="/v2/",
    )
    yield server
    server.close()


def test_a_private_registry_wants_its_pull_secret(private, fetch, tmp_path):
    layer = tmp_path / "layer.tar"
    layer.write_bytes(tar({"models/m.onnx": b"weights"}))
    config = {"auths": {private.host: {"auth": base64.b64encode(b"team:hidden").decode()}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    subprocess.run(
        [stores.tool("bin", "crane"), "append", "--insecure", "-f", layer, "-t", f"{private.host}/car:1"],
        check=True,
        capture_output=True,
        env={**os.environ, "DOCKER_CONFIG": str(tmp_path)},
    )
    uri = f"oci://{private.host}/car:1"
    with pytest.raises(StorageError, match="Give a pull secret"):
        fetch(uri)
    wrong = {"auths": {private.host: {"username": "team", "password": "guess"}}}
    with pytest.raises(StorageError, match="Check the pull secret") as failed:
        fetch(uri, {".dockerconfigjson": json.dumps(wrong)})
    assert "Secret default/pull" in str(failed.value)
    assert "guess" not in str(failed.value)
    assert files(fetch(uri, {".dockerconfigjson": json.dumps(config)}).path) == {"m.onnx": b"weights"}
