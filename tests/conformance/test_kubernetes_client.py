"""The official Python client against the embedded API server: its models are strict about what must be there."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from apiserver import Process, running
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client import ApiException


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(tmp_path_factory.mktemp("kubernetes-client")) as process:
        yield process


@pytest.fixture
def api(server: Process) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(server.folder / "kubeconfig-admin")) as found:
        yield found


_numbers = itertools.count()


@pytest.fixture
def namespace(api: client.ApiClient) -> str:
    name = f"python-{next(_numbers)}"
    client.CoreV1Api(api).create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    return name


def meta(name: str, **labels: str) -> client.V1ObjectMeta:
    return client.V1ObjectMeta(name=name, labels=labels or None)


def pod(name: str = "web") -> client.V1Pod:
    container = client.V1Container(
        name="main", image="nginx:1", ports=[client.V1ContainerPort(container_port=80)]
    )
    return client.V1Pod(metadata=meta(name, app="web"), spec=client.V1PodSpec(containers=[container]))


def deployment(name: str = "web") -> client.V1Deployment:
    template = client.V1PodTemplateSpec(metadata=meta("x", app="web"), spec=pod().spec)
    spec = client.V1DeploymentSpec(
        replicas=2, selector=client.V1LabelSelector(match_labels={"app": "web"}), template=template
    )
    return client.V1Deployment(metadata=meta(name, app="web"), spec=spec)


def test_configmaps_and_secrets(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    body = client.V1ConfigMap(metadata=meta("settings"), data={"a": "1"})
    made = core.create_namespaced_config_map(namespace, body)
    assert made.metadata.creation_timestamp is not None
    after = core.patch_namespaced_config_map("settings", namespace, {"data": {"b": "2"}})
    assert after.data == {"a": "1", "b": "2"}
    made.data = {"c": "3"}
    with pytest.raises(ApiException) as conflict:
        core.replace_namespaced_config_map("settings", namespace, made)
    assert conflict.value.status == 409
    after.data = {"c": "3"}
    assert core.replace_namespaced_config_map("settings", namespace, after).data == {"c": "3"}
    secret = client.V1Secret(metadata=meta("s"), string_data={"password": "hunter2"})
    assert core.create_namespaced_secret(namespace, secret).data == {"password": "aHVudGVyMg=="}
    core.delete_namespaced_config_map("settings", namespace)
    with pytest.raises(ApiException) as missing:
        core.read_namespaced_config_map("settings", namespace)
    assert missing.value.status == 404
    assert '"reason":"NotFound"' in missing.value.body


def test_every_listed_kind_can_be_read_when_there_is_none(api: client.ApiClient, namespace: str) -> None:
    """The client raises on absent lists that its models call required."""
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    for kind in (
        "pod",
        "service",
        "secret",
        "config_map",
        "service_account",
        "event",
        "persistent_volume_claim",
    ):
        assert getattr(core, f"list_namespaced_{kind}")(namespace).items == []
    for kind in ("deployment", "replica_set", "controller_revision"):
        assert getattr(apps, f"list_namespaced_{kind}")(namespace).items == []
    assert client.DiscoveryV1Api(api).list_namespaced_endpoint_slice(namespace).items == []
    assert client.CoordinationV1Api(api).list_namespaced_lease(namespace).items == []
    assert client.AutoscalingV2Api(api).list_namespaced_horizontal_pod_autoscaler(namespace).items == []
    assert core.list_node().items == []
    names = {
        item.metadata.name for item in client.ApiextensionsV1Api(api).list_custom_resource_definition().items
    }
    assert "inferenceservices.serving.kserve.io" in names


def test_pods_and_their_logs(api: client.ApiClient, namespace: str, server: Process) -> None:
    core = client.CoreV1Api(api)
    made = core.create_namespaced_pod(namespace, pod())
    assert made.status.phase == "Pending"
    assert made.spec.node_name == "local"
    folder = server.folder / "pods" / f"{namespace}_web" / "main"
    folder.mkdir(parents=True)
    (folder / "0.log").write_text("one\ntwo\n")
    assert core.read_namespaced_pod_log("web", namespace) == "one\ntwo\n"
    assert core.read_namespaced_pod_log("web", namespace, tail_lines=1) == "two\n"
    status = {"status": {"phase": "Running", "podIP": "127.99.1.1"}}
    after = core.patch_namespaced_pod_status("web", namespace, status)
    assert (after.status.phase, after.status.pod_ip) == ("Running", "127.99.1.1")
    assert (
        core.list_namespaced_pod(namespace, field_selector="status.phase=Running").items[0].metadata.name
        == "web"
    )
    assert core.list_pod_for_all_namespaces(label_selector="app=web").items
    going = core.delete_namespaced_pod("web", namespace, grace_period_seconds=5)
    assert going.metadata.deletion_grace_period_seconds == 5
    core.delete_namespaced_pod("web", namespace, grace_period_seconds=0)
    eviction = client.V1Eviction(metadata=meta("absent"))
    with pytest.raises(ApiException) as missing:
        core.create_namespaced_pod_eviction("absent", namespace, eviction)
    assert missing.value.status == 404


def test_deployments_and_scale(api: client.ApiClient, namespace: str) -> None:
    apps = client.AppsV1Api(api)
    made = apps.create_namespaced_deployment(namespace, deployment())
    assert made.spec.strategy.rolling_update.max_surge == "25%"
    scale = apps.read_namespaced_deployment_scale("web", namespace)
    scale.spec.replicas = 4
    assert apps.replace_namespaced_deployment_scale("web", namespace, scale).spec.replicas == 4
    after = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 1}})
    assert after.spec.replicas == 1
    with pytest.raises(ApiException) as invalid:
        apps.patch_namespaced_deployment("web", namespace, {"spec": {"replicas": -1}})
    assert invalid.value.status == 422
    done = apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")
    assert done is not None
    assert apps.read_namespaced_deployment("web", namespace).metadata.finalizers == ["foregroundDeletion"]


def test_services_have_addresses(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    spec = client.V1ServiceSpec(
        selector={"app": "web"}, ports=[client.V1ServicePort(port=80, target_port="http")]
    )
    made = core.create_namespaced_service(namespace, client.V1Service(metadata=meta("web"), spec=spec))
    assert made.spec.cluster_ip.startswith("127.99.")
    assert made.spec.ports[0].target_port == "http"
    assert core.delete_namespaced_service("web", namespace) is not None


def test_watch(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    listing = core.list_namespaced_config_map(namespace)
    seen: list[tuple[str, str]] = []
    stream = watch.Watch()

    def follow() -> None:
        events = stream.stream(
            core.list_namespaced_config_map,
            namespace,
            resource_version=listing.metadata.resource_version,
            timeout_seconds=30,
        )
        for event in events:
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 3:
                stream.stop()

    thread = threading.Thread(target=follow)
    thread.start()
    core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=meta("a")))
    core.patch_namespaced_config_map("a", namespace, {"data": {"x": "1"}})
    core.delete_namespaced_config_map("a", namespace)
    thread.join(30)
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_lists_in_chunks(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    for index in range(5):
        core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=meta(f"c{index}")))
    names: list[str] = []
    token = None
    while True:
        page = core.list_namespaced_config_map(namespace, limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"c{index}" for index in range(5)]
    assert core.delete_collection_namespaced_config_map(namespace).status == "Success"
    assert core.list_namespaced_config_map(namespace).items == []


def test_custom_objects(api: client.ApiClient, namespace: str) -> None:
    custom = client.CustomObjectsApi(api)
    where = ("test.modelport.io", "v1", namespace, "widgets")
    body = {
        "apiVersion": "test.modelport.io/v1",
        "kind": "Widget",
        "metadata": {"name": "one"},
        "spec": {"size": 2},
    }
    made = custom.create_namespaced_custom_object(*where, body)
    assert made["metadata"]["generation"] == 1
    after = custom.patch_namespaced_custom_object(*where, "one", {"spec": {"size": 3}})
    assert after["spec"]["size"] == 3
    after = custom.patch_namespaced_custom_object_status(*where, "one", {"status": {"phase": "Up"}})
    assert after["status"] == {"phase": "Up"}
    assert custom.list_namespaced_custom_object(*where)["items"][0]["metadata"]["name"] == "one"
    assert custom.get_namespaced_custom_object_scale(*where, "one")["spec"] == {"replicas": 1}
    assert custom.delete_namespaced_custom_object(*where, "one")["status"] == "Success"
    with pytest.raises(ApiException) as invalid:
        custom.create_namespaced_custom_object(*where, body | {"spec": {"size": "big"}})
    assert invalid.value.status == 422


def test_the_dynamic_client_discovers_and_applies(api: client.ApiClient, namespace: str) -> None:
    found = dynamic.DynamicClient(api)
    widgets = found.resources.get(api_version="test.modelport.io/v1", kind="Widget")
    body = {
        "apiVersion": "test.modelport.io/v1",
        "kind": "Widget",
        "metadata": {"name": "one"},
        "spec": {"size": 2},
    }
    applied = widgets.server_side_apply(body=body, name="one", namespace=namespace, field_manager="python")
    assert applied.spec.size == 2
    patched = widgets.patch(
        body={"spec": {"size": 5}},
        name="one",
        namespace=namespace,
        content_type="application/merge-patch+json",
    )
    assert patched.spec.size == 5
    assert [item.metadata.name for item in widgets.get(namespace=namespace).items] == ["one"]
    widgets.delete(name="one", namespace=namespace)


def test_yaml_is_created(api: client.ApiClient, namespace: str) -> None:
    text: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "Deployment"}
    text |= api.sanitize_for_serialization(deployment())
    utils.create_from_dict(api, text, namespace=namespace)
    assert client.AppsV1Api(api).read_namespaced_deployment("web", namespace).spec.replicas == 2


def test_events_leases_and_reviews(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    about = client.V1ObjectReference(kind="Pod", name="web", namespace=namespace)
    event = client.CoreV1Event(
        metadata=meta("e"), involved_object=about, reason="Started", message="m", type="Normal"
    )
    core.create_namespaced_event(namespace, event)
    assert (
        core.list_namespaced_event(namespace, field_selector="involvedObject.name=web").items[0].reason
        == "Started"
    )
    lease = client.V1Lease(metadata=meta("l"), spec=client.V1LeaseSpec(holder_identity="me"))
    assert (
        client.CoordinationV1Api(api).create_namespaced_lease(namespace, lease).spec.holder_identity == "me"
    )
    asked = client.V1ResourceAttributes(verb="get", resource="pods", namespace=namespace)
    review = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=asked)
    )
    assert client.AuthorizationV1Api(api).create_self_subject_access_review(review).status.allowed
    assert client.VersionApi(api).get_code().major == "1"


def test_a_namespace_goes(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=meta("a")))
    core.delete_namespace(namespace)
    end = time.monotonic() + 20
    while True:
        try:
            assert core.read_namespace(namespace).status.phase == "Terminating"
        except ApiException as error:
            assert error.status == 404  # noqa: PT017
            return
        assert time.monotonic() < end
        threading.Event().wait(0.05)
