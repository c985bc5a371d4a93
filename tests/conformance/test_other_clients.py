"""lightkube, kr8s, and a console that lists and watches all there is, against the embedded API server."""

from __future__ import annotations

import errno
import http.server
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import kr8s
import lightkube
import msgspec
import pytest
from apiserver import Process, running
from kr8s.objects import ConfigMap, Deployment, Namespace, Pod, new_class
from lightkube import ApiError, KubeConfig
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources import apps_v1, core_v1
from lightkube.types import PatchType

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
Service = create_namespaced_resource("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices")
SPEC = {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "file:///models/iris"}}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(tmp_path_factory.mktemp("clients")) as process:
        yield process


_numbers = itertools.count()


@pytest.fixture
def namespace(server: Process) -> str:
    name = f"clients-{next(_numbers)}"
    with server.client() as http:
        assert http.post("/api/v1/namespaces", json={"metadata": {"name": name}}).status_code == 201
    return name


@pytest.fixture
def light(server: Process, namespace: str) -> lightkube.Client:
    config = KubeConfig.from_file(str(server.folder / "kubeconfig-admin"))
    return lightkube.Client(config=config, namespace=namespace, field_manager="lightkube", trust_env=False)


def test_lightkube_writes_and_reads(light: lightkube.Client) -> None:
    labels = {"app": "web"}
    body = apps_v1.Deployment(
        metadata=ObjectMeta(name="web", labels=labels),
        spec=DeploymentSpec(
            selector=LabelSelector(matchLabels=labels),
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels=labels), spec=PodSpec(containers=[Container(name="m", image="x")])
            ),
        ),
    )
    assert light.create(body).spec.replicas == 1
    assert light.patch(apps_v1.Deployment, "web", {"spec": {"replicas": 3}}).spec.replicas == 3
    patch = [{"op": "replace", "path": "/spec/replicas", "value": 2}]
    assert light.patch(apps_v1.Deployment, "web", patch, patch_type=PatchType.JSON).spec.replicas == 2
    assert [one.metadata.name for one in light.list(apps_v1.Deployment, labels=labels)] == ["web"]
    scale = light.get(apps_v1.Deployment.Scale, "web")
    scale.spec.replicas = 4
    assert light.replace(scale, "web").spec.replicas == 4
    light.delete(apps_v1.Deployment, "web")
    with pytest.raises(ApiError) as gone:
        light.get(apps_v1.Deployment, "web")
    assert gone.value.status.code == 404


def test_lightkube_lists_in_chunks_and_watches(light: lightkube.Client) -> None:
    for number in range(25):
        light.create(core_v1.ConfigMap(metadata=ObjectMeta(name=f"c{number:02}")))
    listing = light.list(core_v1.ConfigMap, chunk_size=10)
    assert len(list(listing)) == 25
    events = light.watch(core_v1.ConfigMap, resource_version=listing.resourceVersion, server_timeout=30)
    light.create(core_v1.ConfigMap(metadata=ObjectMeta(name="late")))
    assert [(kind, item.metadata.name) for kind, item in itertools.islice(events, 1)] == [("ADDED", "late")]


def test_lightkube_applies_an_inferenceservice(light: lightkube.Client) -> None:
    applied = light.apply(Service(metadata=ObjectMeta(name="iris"), spec=SPEC))
    assert applied.spec["predictor"]["model"]["modelFormat"] == {"name": "sklearn"}
    with pytest.raises(ApiError, match="conflict"):
        light.apply(
            Service(
                metadata=ObjectMeta(name="iris"), spec={"predictor": {"model": {"storageUri": "s3://x"}}}
            ),
            field_manager="another",
        )
    assert [one.metadata.name for one in light.list(Service)] == ["iris"]


@pytest.fixture
def api(server: Process, namespace: str) -> Any:
    return kr8s.api(kubeconfig=str(server.folder / "kubeconfig-admin"), namespace=namespace)


def test_kr8s_writes_reads_and_waits(api: Any, namespace: str) -> None:
    item = ConfigMap({"metadata": {"name": "a", "namespace": namespace}, "data": {"k": "1"}}, api=api)
    item.create()
    item.patch({"data": {"k": "2"}})
    item.label(tier="front")
    found = list(api.get("configmaps", namespace=namespace, label_selector={"tier": "front"}))
    assert [one.raw["data"] for one in found] == [{"k": "2"}]
    item.delete()
    assert not item.exists()
    deployment = Deployment(_deployment(namespace), api=api)
    deployment.create()
    ready = {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    ready |= {"conditions": [{"type": "Available", "status": "True"}]}
    deployment.patch({"status": ready}, subresource="status")
    deployment.wait("condition=Available", timeout=30)
    assert Namespace.get(namespace, api=api).exists()


def _deployment(namespace: str) -> dict[str, Any]:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "m", "image": "x"}]}}
    return {
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


def test_kr8s_knows_our_kinds(api: Any, namespace: str) -> None:
    kind = new_class(
        "InferenceService", "serving.kserve.io/v1beta1", namespaced=True, plural="inferenceservices"
    )
    service = kind({"metadata": {"name": "iris", "namespace": namespace}, "spec": SPEC}, api=api)
    service.create()
    found = list(api.get("inferenceservices.serving.kserve.io", namespace=namespace))
    assert [one.name for one in found] == ["iris"]


def test_kr8s_runs_commands_and_forwards_ports(api: Any, namespace: str, server: Process) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hello) as web,
    ):
        threading.Thread(target=web.serve_forever, daemon=True).start()
        try:
            container = {"name": "main", "image": "x", "ports": [{"containerPort": web.server_port}]}
            body = {"metadata": {"name": "web", "namespace": namespace}, "spec": {"containers": [container]}}
            pod = Pod(body, api=api)
            pod.create()
            up = {"name": "main", "ready": True, "restartCount": 0, "image": "x", "imageID": ""}
            up |= {"containerID": f"process://{process.pid}", "state": {"running": {}}}
            conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
            status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": conditions}
            pod.patch({"status": status | {"containerStatuses": [up]}}, subresource="status")
            pod.refresh()
            done = pod.exec(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
            assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
            assert _forwarded(pod, web.server_port) == "hello"
        finally:
            web.shutdown()
            process.kill()


def _forwarded(pod: Any, port: int) -> str:
    """What a GET by way of a forwarded port says. kr8s looks for a free port first, and may be overtaken."""
    for attempt in range(10):
        try:
            with pod.portforward(remote_port=port, local_port=None) as local:
                return httpx.get(f"http://127.0.0.1:{local}/", timeout=60, trust_env=False).text
        except OSError as error:
            if error.errno != errno.EADDRINUSE or attempt == 9:
                raise
    raise AssertionError


class _Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


def test_a_console_lists_and_watches_everything(server: Process, namespace: str) -> None:
    """As k9s and Lens do: every resource of discovery, as a Table and as metadata, then a watch from there."""
    with server.client() as http:
        groups = http.get("/apis").json()["groups"]
        versions = [one["groupVersion"] for group in groups for one in group["versions"]]
        places = ["/api/v1", *(f"/apis/{one}" for one in versions)]
        paths = [
            f"{place}/{one['name']}"
            for place in places
            for one in http.get(place).json()["resources"]
            if "/" not in one["name"] and "watch" in one["verbs"]
        ]
        assert len(paths) > 25
        assert "/apis/serving.kserve.io/v1beta1/inferenceservices" in paths

        def look(path: str) -> tuple[str, str]:
            version = ""
            for accept in (TABLE, PARTIAL, "application/json"):
                listing = http.get(path, headers={"Accept": accept})
                assert listing.status_code == 200, f"{path}: {listing.text}"
                version = listing.json()["metadata"]["resourceVersion"]
            params = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "1"}
            with http.stream("GET", path, params=params, headers={"Accept": TABLE}) as events:
                assert events.status_code == 200
                return path, "".join(events.iter_text())

        with ThreadPoolExecutor(8) as pool:
            seen = dict(pool.map(look, paths))
        assert set(seen) == set(paths)
    with server.client() as http:
        version = http.get("/api/v1/events").json()["metadata"]["resourceVersion"]
        params = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "30"}
        with http.stream("GET", "/api/v1/configmaps", params=params, headers={"Accept": TABLE}) as events:
            with server.client() as writer:
                writer.post(f"/api/v1/namespaces/{namespace}/configmaps", json={"metadata": {"name": "x"}})
            event = msgspec.json.decode(next(events.iter_lines()))
        assert (event["type"], event["object"]["rows"][0]["cells"][0]) == ("ADDED", "x")
