"""What `kubectl get` prints: the words of a cluster."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelport.kube import resource as kinds
from modelport.kube.resource import Resource
from modelport.local.apiserver.columns import COLUMNS
from modelport.local.apiserver.table import Column, age, all_columns, at, cell, duration, row

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CREATED = "2026-01-01T23:59:30Z"


def shown(resource: Resource, wide: bool = False, **obj: Any) -> list[Any]:
    """The cells after the name; Age left out."""
    whole = {"metadata": {"name": "x", "creationTimestamp": CREATED}, "spec": {}} | obj
    columns = all_columns(COLUMNS[resource])
    cells = row(whole, columns, "None", NOW)["cells"]
    if columns[0].name == "Name":
        columns, cells = columns[1:], cells[1:]
    return [
        text
        for text, column in zip(cells, columns, strict=True)
        if column.name != "Age" and (wide or column.priority == 0)
    ]


def pod(
    *states: dict[str, Any], init: list[dict[str, Any]] | None = None, phase: str = "Running", **more: Any
) -> dict[str, Any]:
    """`states`: of each container; extra words of it under `_`."""

    def status(state: dict[str, Any]) -> dict[str, Any]:
        return {"name": "c", "state": {k: v for k, v in state.items() if k != "_"}} | state.get("_", {})

    meta = {"name": "x", "creationTimestamp": CREATED} | more.pop("metadata", {})
    return {
        "metadata": meta,
        "spec": {
            "containers": [{"name": "c"} for _ in states or [1]],
            "initContainers": [{} for _ in init or []],
        },
        "status": {
            "phase": phase,
            "containerStatuses": [status(state) for state in states],
            "initContainerStatuses": [status(state) for state in init or []],
        }
        | more,
    }


UP = {"running": {}, "_": {"ready": True}}
DONE = {"terminated": {"exitCode": 0, "reason": "Completed"}}


@pytest.mark.parametrize(
    ("obj", "ready", "status", "restarts"),
    [
        (pod(phase="Pending"), "0/1", "Pending", "0"),
        (pod(UP, UP), "2/2", "Running", "0"),
        (pod(UP, {"running": {}}), "1/2", "Running", "0"),
        (pod({"waiting": {"reason": "CrashLoopBackOff"}}), "0/1", "CrashLoopBackOff", "0"),
        (pod({"terminated": {"exitCode": 3}}), "0/1", "ExitCode:3", "0"),
        (pod({"terminated": {"exitCode": 137, "signal": 9}}), "0/1", "Signal:9", "0"),
        (pod({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), "0/1", "OOMKilled", "0"),
        (pod(DONE, phase="Succeeded"), "0/1", "Completed", "0"),
        (pod(UP, DONE), "1/2", "NotReady", "0"),
        (pod(UP, DONE, conditions=[{"type": "Ready", "status": "True"}]), "1/2", "Running", "0"),
        (pod(phase="Pending", init=[{"running": {}}, {"waiting": {"reason": "PodInitializing"}}]), "0/1", "Init:0/2", "0"),
        (pod(phase="Pending", init=[DONE, {"running": {}}]), "0/1", "Init:1/2", "0"),
        (pod(phase="Pending", init=[{"waiting": {"reason": "CrashLoopBackOff"}}]), "0/1", "Init:CrashLoopBackOff", "0"),
        (pod(phase="Pending", init=[{"terminated": {"exitCode": 1, "reason": "Error"}}]), "0/1", "Init:Error", "0"),
        (pod(phase="Pending", init=[{"terminated": {"exitCode": 2}}]), "0/1", "Init:ExitCode:2", "0"),
        (pod(UP, metadata={"deletionTimestamp": CREATED}), "1/1", "Terminating", "0"),
        (pod(phase="Failed", reason="Evicted"), "0/1", "Evicted", "0"),
        (
            pod({"running": {}, "_": {"ready": True, "restartCount": 3, "lastState": {"terminated": {"finishedAt": CREATED}}}}),
            "1/1",
            "Running",
            "3 (30s ago)",
        ),
    ],
)  # fmt: skip
def test_a_pod_in_three_words(obj: dict[str, Any], ready: str, status: str, restarts: str) -> None:
    assert shown(kinds.POD, **obj) == [ready, status, restarts]


def test_what_stays_beside_the_containers_counts_among_them() -> None:
    escorted = pod(UP, init=[{"running": {}, "_": {"ready": True, "started": True}}])
    escorted["spec"]["initContainers"] = [{"name": "c", "restartPolicy": "Always"}]
    assert shown(kinds.POD, **escorted) == ["2/2", "Running", "0"]
    escorted["status"]["initContainerStatuses"][0] |= {"ready": False, "started": False}
    assert shown(kinds.POD, **escorted) == ["1/2", "Init:0/1", "0"]


TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "nginx"}, {"name": "b", "image": "envoy"}]}}


@pytest.mark.parametrize(
    ("resource", "obj", "cells"),
    [
        (
            kinds.POD,
            pod(UP, podIP="127.77.1.1") | {"spec": {"containers": [{}], "nodeName": "local"}},
            ["1/1", "Running", "0", "127.77.1.1", "local", "<none>", "<none>"],
        ),
        (
            kinds.DEPLOYMENT,
            {
                "spec": {"replicas": 3, "template": TEMPLATE, "selector": {"matchLabels": {"app": "web"}}},
                "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1},
            },
            ["1/3", 2, 1, "a,b", "nginx,envoy", "app=web"],
        ),
        (kinds.DEPLOYMENT, {"spec": {"replicas": 0}}, ["0/0", 0, 0, "<none>", "<none>", ""]),
        (
            kinds.REPLICA_SET,
            {
                "spec": {"replicas": 3, "template": TEMPLATE, "selector": {}},
                "status": {"replicas": 2, "readyReplicas": 1},
            },
            [3, 2, 1, "a,b", "nginx,envoy", ""],
        ),
        (
            kinds.SERVICE,
            {
                "spec": {
                    "type": "ClusterIP",
                    "clusterIP": "127.77.250.1",
                    "ports": [
                        {"port": 80, "protocol": "TCP"},
                        {"port": 53, "nodePort": 30053, "protocol": "UDP"},
                    ],
                    "selector": {"b": "2", "a": "1"},
                }
            },
            ["ClusterIP", "127.77.250.1", "<none>", "80/TCP,53:30053/UDP", "a=1,b=2"],
        ),
        (kinds.SERVICE, {"spec": {"clusterIP": "None"}}, ["ClusterIP", "None", "<none>", "<none>", "<none>"]),
        (
            kinds.SERVICE,
            {"spec": {"type": "ExternalName", "externalName": "example.com"}},
            ["ExternalName", "<none>", "example.com", "<none>", "<none>"],
        ),
        (
            kinds.SERVICE,
            {"spec": {"type": "LoadBalancer"}},
            ["LoadBalancer", "<none>", "<pending>", "<none>", "<none>"],
        ),
        (kinds.NAMESPACE, {"status": {"phase": "Terminating"}}, ["Terminating"]),
        (
            kinds.NODE,
            {
                "metadata": {"name": "local", "labels": {"node-role.kubernetes.io/worker": "", "other": ""}},
                "spec": {"unschedulable": True},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1"},
                },
            },
            [
                "Ready,SchedulingDisabled",
                "worker",
                "v1",
                "127.0.0.1",
                "<none>",
                "<unknown>",
                "<unknown>",
                "<unknown>",
            ],
        ),
        (kinds.SECRET, {"type": "Opaque", "data": {"a": "", "b": ""}}, ["Opaque", 2]),
        (kinds.CONFIG_MAP, {"data": {"a": ""}, "binaryData": {"b": ""}}, [2]),
        (
            kinds.EVENT,
            {
                "lastTimestamp": CREATED,
                "firstTimestamp": "2026-01-01T23:00:00Z",
                "type": "Warning",
                "reason": "Failed",
                "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{main}"},
                "source": {"component": "node"},
                "message": " went wrong \n",
                "count": 4,
            },
            [
                "30s",
                "Warning",
                "Failed",
                "pod/web",
                "spec.containers{main}",
                "node",
                "went wrong",
                "60m",
                "4",
                "x",
            ],
        ),
        (
            kinds.ENDPOINT_SLICE,
            {
                "addressType": "IPv4",
                "ports": [{"port": 8080}],
                "endpoints": [{"addresses": [f"127.77.1.{n}"]} for n in range(1, 6)],
            },
            ["IPv4", "8080", "127.77.1.1,127.77.1.2,127.77.1.3 + 2 more..."],
        ),
        (kinds.ENDPOINT_SLICE, {"addressType": "IPv4"}, ["IPv4", "<unset>", "<unset>"]),
        (kinds.HTTP_ROUTE, {"spec": {"hostnames": ["a.b", "c.d"]}}, ['["a.b","c.d"]']),
        (
            kinds.GATEWAY,
            {
                "spec": {"gatewayClassName": "modelport"},
                "status": {
                    "addresses": [{"value": "1.2.3.4"}],
                    "conditions": [{"type": "Programmed", "status": "True"}],
                },
            },
            ["modelport", "1.2.3.4", "True"],
        ),
        (kinds.GATEWAY_CLASS, {"spec": {"controllerName": "c"}}, ["c", "Unknown", ""]),
        (kinds.LEASE, {"spec": {"holderIdentity": "me"}}, ["me"]),
        (
            kinds.CONTROLLER_REVISION,
            {
                "metadata": {
                    "name": "x",
                    "ownerReferences": [
                        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "controller": True}
                    ],
                },
                "revision": 3,
            },
            ["deployment.apps/d", 3],
        ),
        (
            kinds.PERSISTENT_VOLUME_CLAIM,
            {
                "spec": {"volumeName": "v", "volumeMode": "Filesystem"},
                "status": {
                    "phase": "Bound",
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                },
            },
            ["Bound", "v", "1Gi", "RWO", "", "<unset>", "Filesystem"],
        ),
        (
            kinds.HORIZONTAL_POD_AUTOSCALER,
            {
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "d"},
                    "minReplicas": 1,
                    "maxReplicas": 5,
                    "metrics": [
                        {
                            "type": "Resource",
                            "resource": {"name": "cpu", "target": {"averageUtilization": 80}},
                        },
                        {
                            "type": "Resource",
                            "resource": {"name": "memory", "target": {"averageValue": "1Gi"}},
                        },
                        {"type": "Pods"},
                    ],
                },
                "status": {
                    "currentReplicas": 2,
                    "currentMetrics": [{"resource": {"current": {"averageUtilization": 55}}}],
                },
            },
            ["Deployment/d", "cpu: 55%/80%, memory: <unknown>/1Gi, Pods: <unknown>", "1", 5, 2],
        ),
        (kinds.CUSTOM_RESOURCE_DEFINITION, {}, [CREATED]),
        (kinds.SERVICE_ACCOUNT, {}, [0]),
    ],
    ids=lambda value: value.kind if isinstance(value, Resource) else None,
)
def test_the_columns_of_a_cluster(resource: Resource, obj: dict[str, Any], cells: list[Any]) -> None:
    assert shown(resource, wide=True, **obj) == cells


@pytest.mark.parametrize("resource", COLUMNS, ids=lambda resource: resource.kind)
def test_an_object_with_hardly_anything_in_it_is_shown(resource: Resource) -> None:
    """Stored by an older version, or by a controller that has not got far."""
    shown(resource, wide=True)
    shown(resource, wide=True, spec={}, status={})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-0.5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (599, "9m59s"), (600, "10m"),
        (10_799, "179m"), (10_800, "3h"), (12_600, "3h30m"), (28_800, "8h"), (172_799, "47h"), (172_800, "2d"),
        (180_000, "2d2h"), (691_199, "7d23h"), (691_200, "8d"), (63_071_999, "729d"), (63_072_000, "2y"),
        (70_000_000, "2y80d"), (315_360_000, "10y"),
    ],
)  # fmt: skip
def test_lengths_of_time_are_kubectls(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_ages_that_are_not_known() -> None:
    assert age(None, NOW) == age("yesterday", NOW) == "<unknown>"
    assert age((NOW - timedelta(days=3)).isoformat(), NOW) == "3d"


OBJECT = {
    "metadata": {"labels": {"a.b/c": "x"}, "creationTimestamp": CREATED},
    "spec": {
        "list": [{"n": 1}, {"n": 2}],
        "map": {"k": [1, 2]},
        "flag": False,
        "url": "http://x",
        "empty": [],
    },
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Up", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "type_", "value"),
    [
        (".spec.url", "string", "http://x"),
        (".spec.list[0].n", "integer", 1),
        (".spec.list[-1].n", "integer", 2),
        (".spec.list[9].n", "integer", None),
        (".spec.list[*].n", "integer", 1),
        (".spec.flag", "boolean", False),
        (".spec.map", "string", '{"k":[1,2]}'),
        (".spec.absent.deeper", "string", ""),
        (".spec.empty[0]", "string", ""),
        ('.status.conditions[?(@.type=="Ready")].status', "string", "True"),
        (".status.conditions[?(@.type=='Up')].status", "string", "False"),
        (".status.conditions[?(@.type=='None')].status", "string", ""),
        (".metadata.labels['a.b/c']", "string", "x"),
        (r".metadata.labels.a\.b/c", "string", "x"),
        (".metadata.creationTimestamp", "date", "30s"),
    ],
)
def test_columns_of_declared_kinds(path: str, type_: str, value: Any) -> None:
    assert cell(Column(name="X", cell=path, type=type_), OBJECT, NOW) == value


@pytest.mark.parametrize("path", [".a[", "a b", ".a[?(@.b)]", ".a..b"])
def test_a_path_that_is_not_understood_is_said(path: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        at({"a": 1}, path)
