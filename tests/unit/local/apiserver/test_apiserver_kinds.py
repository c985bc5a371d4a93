"""Kubernetes' own kinds by Kubernetes' own rules."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from apiserver_api import Api, config, deployment, good, pod, refused


def causes(status: dict[str, Any]) -> dict[str, str]:
    return {cause["field"]: cause["message"] for cause in status["details"]["causes"]}


# Pods


def test_a_pod_is_born_on_the_node_and_waits(api: Api) -> None:
    made = api.create("pods", pod())
    assert made["spec"]["nodeName"] == "local"
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert made["spec"] | {"containers": None} == {
        "containers": None,
        "nodeName": "local",
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }


def test_containers_get_kubernetes_defaults(api: Api) -> None:
    container = {
        "name": "main",
        "image": "registry:5000/nginx",
        "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
        "readinessProbe": {"httpGet": {"port": 80}},
        "livenessProbe": {"grpc": {"port": 9000}, "periodSeconds": 3},
        "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    }
    volumes = [
        {"name": "a"},
        {"name": "b", "configMap": {"name": "x"}},
        {"name": "c", "secret": {"secretName": "x", "defaultMode": 256}},
        {"name": "d", "hostPath": {"path": "/"}},
        {"name": "e", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    ]
    made = api.create("pods", pod(containers=[container], volumes=volumes))
    got = made["spec"]["containers"][0]
    assert got["imagePullPolicy"] == "Always"
    assert got["terminationMessagePath"] == "/dev/termination-log"
    assert got["terminationMessagePolicy"] == "File"
    assert got["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert got["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}
    assert got["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert got["livenessProbe"]["grpc"] == {"port": 9000, "service": ""}
    assert got["livenessProbe"]["periodSeconds"] == 3
    assert got["lifecycle"]["preStop"]["httpGet"]["scheme"] == "HTTP"
    assert got["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert made["status"]["qosClass"] == "Burstable"
    assert made["spec"]["volumes"] == [
        {"name": "a", "emptyDir": {}},
        {"name": "b", "configMap": {"name": "x", "defaultMode": 420}},
        {"name": "c", "secret": {"secretName": "x", "defaultMode": 256}},
        {"name": "d", "hostPath": {"path": "/", "type": ""}},
        # Without the seconds `kubectl describe pod` crashes.
        {
            "name": "e",
            "projected": {
                "defaultMode": 420,
                "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}],
            },
        },
    ]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("nginx@sha256:abc", "IfNotPresent"),
    ],
)
def test_an_image_is_pulled_as_its_tag_says(api: Api, image: str, policy: str) -> None:
    made = api.create("pods", pod(containers=[{"name": "main", "image": image}]))
    assert made["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_equal_requests_and_limits_are_guaranteed(api: Api) -> None:
    amounts = {"cpu": "1", "memory": "1Gi"}
    container = {"name": "main", "image": "x", "resources": {"limits": amounts}}
    assert api.create("pods", pod(containers=[container]))["status"]["qosClass"] == "Guaranteed"


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"containers": []}, "spec.containers", "Required value"),
        ({"containers": [{"name": "a"}]}, "spec.containers[0].image", "Required value"),
        ({"containers": [{"name": "A_b", "image": "x"}]}, "spec.containers[0].name", "RFC 1123 label"),
        (
            {"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]},
            "spec.containers[1].name",
            'Duplicate value: "a"',
        ),
        ({"restartPolicy": "Sometimes"}, "spec.restartPolicy", "supported values"),
        (
            {"containers": [{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
            "spec.containers[0].volumeMounts[0].name",
            'Not found: "v"',
        ),
        (
            {"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 70000}]}]},
            "spec.containers[0].ports[0].containerPort",
            "between 1 and 65535",
        ),
        (
            {"containers": [{"name": "a", "image": "x", "resources": {"limits": {"cpu": "lots"}}}]},
            "spec.containers[0].resources.limits[cpu]",
            "lots",
        ),
        (
            {
                "containers": [
                    {
                        "name": "a",
                        "image": "x",
                        "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}},
                    }
                ]
            },
            "spec.containers[0].resources.requests",
            "must be less than or equal to cpu limit of 1",
        ),
        (
            {"containers": [{"name": "a", "image": "x", "readinessProbe": {}}]},
            "spec.containers[0].readinessProbe",
            "must specify a handler type",
        ),
        (
            {"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]},
            "spec.volumes[0].hostPath",
            "more than 1",
        ),
        (
            {
                "volumes": [{"name": "v"}],
                "containers": [
                    {
                        "name": "a",
                        "image": "x",
                        "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "../.."}],
                    }
                ],
            },
            "spec.containers[0].volumeMounts[0].subPath",
            "must not contain '..'",
        ),
        (
            {"initContainers": [{"name": "a", "image": "x", "restartPolicy": "Never"}]},
            "spec.initContainers[0].restartPolicy",
            'supported values: "Always"',
        ),
        (
            {"initContainers": [{"name": "a", "image": "x", "livenessProbe": {"tcpSocket": {"port": 1}}}]},
            "spec.initContainers[0].livenessProbe",
            "may not be set for init containers without restartPolicy=Always",
        ),
        (
            {"containers": [{"name": "a", "image": "x", "restartPolicy": "Always"}]},
            "spec.containers[0].restartPolicy",
            "may not be set for non-init containers",
        ),
        (
            {"containers": [{"name": "a", "image": "x", "env": [{"value": "1"}]}]},
            "spec.containers[0].env[0].name",
            "Required",
        ),
    ],
)
def test_a_pod_that_breaks_a_rule_is_refused(api: Api, spec: dict[str, Any], field: str, words: str) -> None:
    answer = api.http.post(api.path("pods"), json=pod(**spec))
    assert words in causes(refused(answer, 422, "Invalid"))[field]


def test_a_running_pods_spec_is_fixed_but_for_its_images(api: Api) -> None:
    made = api.create("pods", pod())
    after = api.patch(
        "pods", "web", {"spec": {"containers": [{"name": "main", "image": "nginx:2"}]}}, "strategic"
    )
    assert after["spec"]["containers"][0]["image"] == "nginx:2"
    answer = api.patched("pods", "web", {"spec": {"hostNetwork": True}})
    assert "pod updates may not change fields other than" in refused(answer, 422, "Invalid")["message"]
    # kubectl replace sends what was in the file, without a node.
    api.put("pods", "web", pod(containers=[{"name": "main", "image": "nginx:2"}]))
    assert api.get("pods", "web")["spec"]["nodeName"] == made["spec"]["nodeName"]


def test_a_pod_with_a_node_cannot_be_given_another(api: Api) -> None:
    api.create("pods", pod())
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "web"},
        "target": {"kind": "Node", "name": "x"},
    }
    answer = api.http.post(api.path("pods", "web/binding"), json=binding)
    assert "already assigned to node 'local'" in refused(answer, 409, "Conflict")["message"]


def test_an_eviction_deletes_the_pod_in_grace(api: Api) -> None:
    api.create("pods", pod())
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}}
    good(api.http.post(api.path("pods", "web/eviction"), json=body), 201)
    assert api.get("pods", "web")["metadata"]["deletionTimestamp"]
    refused(api.http.post(api.path("pods", "absent/eviction"), json=body), 404, "NotFound")


@pytest.mark.parametrize("sub", ["attach", "proxy", "proxy/metrics"])
def test_what_one_machine_has_no_use_for_says_what_to_do_instead(api: Api, sub: str) -> None:
    api.create("pods", pod())
    for method in ("GET", "POST"):
        answer = api.http.request(method, api.path("pods", f"web/{sub}"))
        status = refused(answer, 501, "NotImplemented")
        assert status["message"].startswith(f"pods/{sub} is not served here in this way. ")


# Deletion in grace


def test_a_pod_goes_when_its_node_says_so(api: Api) -> None:
    made = api.create("pods", pod())
    first = good(api.delete("pods", "web"))
    meta = first["metadata"]
    assert meta["deletionGracePeriodSeconds"] == 30
    assert meta["deletionTimestamp"] > made["metadata"]["creationTimestamp"]
    assert meta["generation"] == made["metadata"]["generation"] + 1
    again = good(api.delete("pods", "web"))
    assert again["metadata"]["resourceVersion"] == meta["resourceVersion"], "deleting twice changes nothing"
    shorter = good(api.delete("pods", "web", {"gracePeriodSeconds": 5}))
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    longer = good(api.delete("pods", "web", {"gracePeriodSeconds": 50}))
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 5, "a second deletion may only hurry"
    gone = good(api.delete("pods", "web", {"gracePeriodSeconds": 0}))
    assert gone["metadata"]["uid"] == made["metadata"]["uid"], "clients' models expect the pod, not a Status"
    refused(api.http.get(api.path("pods", "web")), 404, "NotFound")


def test_a_pod_that_has_ended_goes_at_once(api: Api) -> None:
    api.create("pods", pod())
    good(
        api.http.patch(
            api.path("pods", "web/status"),
            json={"status": {"phase": "Succeeded"}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
    )
    good(api.delete("pods", "web"))
    refused(api.http.get(api.path("pods", "web")), 404, "NotFound")


def test_a_pods_own_grace_counts(api: Api) -> None:
    api.create("pods", pod(terminationGracePeriodSeconds=7))
    assert good(api.delete("pods", "web"))["metadata"]["deletionGracePeriodSeconds"] == 7


# Deployments and ReplicaSets


def test_a_deployment_gets_kubernetes_defaults(api: Api) -> None:
    body = deployment()
    del body["spec"]["replicas"]
    spec = api.create("deployments", body)["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert spec["template"]["spec"]["restartPolicy"] == "Always"
    assert "nodeName" not in spec["template"]["spec"]


@pytest.mark.parametrize("plural", ["deployments", "replicasets"])
def test_a_selector_is_fixed_and_fits_the_template(api: Api, plural: str) -> None:
    body = deployment()
    body["kind"] = {"deployments": "Deployment", "replicasets": "ReplicaSet"}[plural]
    unfit = body | {"spec": body["spec"] | {"selector": {"matchLabels": {"app": "other"}}}}
    status = refused(api.http.post(api.path(plural), json=unfit), 422, "Invalid")
    assert "`selector` does not match template `labels`" in causes(status)["spec.template.metadata.labels"]
    missing = body | {"spec": {k: v for k, v in body["spec"].items() if k != "selector"}}
    assert "spec.selector" in causes(refused(api.http.post(api.path(plural), json=missing), 422, "Invalid"))
    api.create(plural, body)
    status = refused(api.http.put(api.path(plural, "web"), json=unfit), 422, "Invalid")
    assert "field is immutable" in causes(status)["spec.selector"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"replicas": -1}, "spec.replicas"),
        ({"strategy": {"type": "Swap"}}, "spec.strategy.type"),
        ({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}}, "spec.strategy.rollingUpdate"),
        (
            {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}},
            "spec.strategy.rollingUpdate.maxUnavailable",
        ),
        ({"strategy": {"rollingUpdate": {"maxSurge": "some"}}}, "spec.strategy.rollingUpdate.maxSurge"),
        ({"minReadySeconds": 600}, "spec.progressDeadlineSeconds"),
        ({"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}, "spec.selector"),
    ],
)
def test_a_deployment_that_breaks_a_rule_is_refused(api: Api, spec: dict[str, Any], field: str) -> None:
    answer = api.http.post(api.path("deployments"), json=deployment(**spec))
    assert field in causes(refused(answer, 422, "Invalid"))


# Services


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"app": name}} | spec}


def test_a_service_has_a_stable_address_apart_from_the_pods(api: Api) -> None:
    spec = api.create("services", service())["spec"]
    first, second, third, _ = (int(part) for part in spec["clusterIP"].split("."))
    assert (first, second) == (127, 99)
    assert 250 <= third <= 255
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    good(api.delete("services", "web"))
    assert api.create("services", service())["spec"]["clusterIP"] == spec["clusterIP"], (
        "made again, it has it again"
    )
    after = api.put("services", "web", service(selector={"app": "other"}))
    assert after["spec"]["clusterIP"] == spec["clusterIP"], "kubectl replace names no address"
    answer = api.patched("services", "web", {"spec": {"clusterIP": "127.99.255.9", "clusterIPs": None}})
    assert "may not change once set" in refused(answer, 422, "Invalid")["message"]


def test_no_two_services_have_one_address(api: Api) -> None:
    addresses = [api.create("services", service(f"s{index}"))["spec"]["clusterIP"] for index in range(40)]
    assert len(set(addresses)) == 40
    answer = api.http.post(api.path("services"), json=service("taken", clusterIP=addresses[3]))
    assert "provided IP is already allocated" in refused(answer, 422, "Invalid")["message"]


def test_an_address_may_be_asked_for_within_the_range(api: Api) -> None:
    items = good(api.http.get("/api/v1/services"))["items"]
    taken = {item["spec"].get("clusterIP") for item in items}  # other tests', given by their names
    free = next(address for n in range(1, 255) if (address := f"127.99.254.{n}") not in taken)
    assert api.create("services", service(clusterIP=free))["spec"]["clusterIP"] == free
    status = refused(
        api.http.post(api.path("services"), json=service("b", clusterIP="10.0.0.1")), 422, "Invalid"
    )
    assert "not in the valid range (127.99.250.1 to 127.99.255.254)" in status["message"]


def test_a_headless_service_has_none(api: Api) -> None:
    spec = api.create("services", service(clusterIP="None", ports=[]))["spec"]
    assert (spec["clusterIP"], spec["clusterIPs"]) == ("None", ["None"])
    spec = api.create("services", service("out", type="ExternalName", externalName="example.com", ports=[]))[
        "spec"
    ]
    assert "clusterIP" not in spec


def test_service_ports_get_defaults_and_are_checked(api: Api) -> None:
    spec = api.create("services", service())["spec"]
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (spec["type"], spec["sessionAffinity"]) == ("ClusterIP", "None")
    for ports, field in (
        ([], "spec.ports"),
        ([{"port": 0}], "spec.ports[0].port"),
        ([{"port": 1}, {"port": 2}], "spec.ports[0].name"),
        ([{"name": "a", "port": 1}, {"name": "a", "port": 2}], "spec.ports[1].name"),
        ([{"name": "a", "port": 1}, {"name": "b", "port": 1}], "spec.ports[1]"),
    ):
        status = refused(
            api.http.post(api.path("services"), json=service("bad", ports=ports)), 422, "Invalid"
        )
        assert field in causes(status)
    refused(api.http.post(api.path("services"), json=service("1st")), 422, "Invalid")


# Secrets and ConfigMaps


def test_texts_of_a_secret_become_data(api: Api) -> None:
    made = api.create(
        "secrets", {"metadata": {"name": "s"}, "data": {"a": "MQ=="}, "stringData": {"b": "zwei", "a": "2"}}
    )
    assert made["data"] == {"a": base64.b64encode(b"2").decode(), "b": base64.b64encode(b"zwei").decode()}
    assert "stringData" not in made
    assert made["type"] == "Opaque"
    answer = api.patched("secrets", "s", {"type": "other"})
    assert "field is immutable" in refused(answer, 422, "Invalid")["message"]


def test_a_broken_secret_is_refused_without_repeating_it(api: Api) -> None:
    body = {"metadata": {"name": "s"}, "data": {"password": "hunter2!"}}
    status = refused(api.http.post(api.path("secrets"), json=body), 422, "Invalid")
    body = {"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": {}}
    status = refused(api.http.post(api.path("secrets"), json=body), 422, "Invalid")
    assert set(causes(status)) == {"data[tls.crt]", "data[tls.key]"}


@pytest.mark.parametrize("plural", ["secrets", "configmaps"])
def test_what_is_immutable_stays(api: Api, plural: str) -> None:
    api.create(plural, {"metadata": {"name": "x"}, "data": {"a": "MQ=="}, "immutable": True})
    for change in ({"data": {"a": "Mg=="}}, {"immutable": False}, {"data": None}):
        assert "immutable" in refused(api.patched(plural, "x", change), 422, "Invalid")["message"]
    api.patch(plural, "x", {"metadata": {"labels": {"a": "b"}}})
    good(api.delete(plural, "x"))


def test_data_has_limits(api: Api) -> None:
    refused(api.http.post(api.path("configmaps"), json=config(text="x" * ((1 << 20) + 1))), 422, "Invalid")
    api.create("configmaps", config(text="x" * (1 << 20)))
    refused(api.http.post(api.path("configmaps"), json=config("b", **{"a b": "c"})), 422, "Invalid")


# Others


def test_an_event_lies_beside_what_it_is_about(api: Api) -> None:
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "web", "namespace": api.namespace, "uid": "1"},
        "reason": "Started",
        "message": "m",
        "type": "Normal",
    }
    api.create("events", event)
    assert api.names("events", fieldSelector="involvedObject.name=web,involvedObject.kind=Pod") == ["e"]
    assert api.names("events", fieldSelector="involvedObject.uid=2") == []
    event["involvedObject"]["namespace"] = "elsewhere"  # type: ignore[index]
    event["metadata"]["name"] = "f"  # type: ignore[index]
    refused(api.http.post(api.path("events"), json=event), 422, "Invalid")


def test_a_lease_can_be_made_by_replacing_it(api: Api) -> None:
    body = {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "me"}}
    good(api.http.put(api.path("leases", "leader"), json=body), 201)
    good(api.http.put(api.path("leases", "leader"), json=body))
    refused(api.http.put(api.path("configmaps", "settings"), json=config()), 404, "NotFound")


def test_the_platforms_definitions_are_listed_and_fixed(api: Api) -> None:
    found = api.get("customresourcedefinitions", "widgets.test.modelport.io")
    assert found["spec"]["names"]["kind"] == "Widget"
    established = {one["type"]: one["status"] for one in found["status"]["conditions"]}
    assert established == {"NamesAccepted": "True", "Established": "True"}
    found["spec"]["names"]["shortNames"] = ["another"]
    new = {"metadata": {"name": "widgets.test.modelport.io"}, "spec": found["spec"]}
    for answer in (
        api.http.put(api.path("customresourcedefinitions", "widgets.test.modelport.io"), json=found),
        api.http.post(api.path("customresourcedefinitions"), json=new),
        api.delete("customresourcedefinitions", "widgets.test.modelport.io"),
    ):
        assert "built in" in refused(answer, 403, "Forbidden")["message"]
