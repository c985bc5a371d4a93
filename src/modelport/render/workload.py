"""A component's Deployment and Service out of its pod."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from modelport.kinds.builtin import IMAGE
from modelport.kinds.config import Config
from modelport.kinds.inferenceservice.spec import Component, InferenceService
from modelport.kube.part import texts
from modelport.kube.resource import Object
from modelport.render.pod import MODEL, PORT, TRANSFORMER, container, first_port, ports

H2C_TOO = "serving.modelport.io/h2c"
"""Annotation of a Service, or of the InferenceService that it is made for: `"true"` where its ports take HTTP/1.1 and h2c
alike. (`appProtocol` can only say that a port takes h2c and nothing else.)"""


def deployment(
    service: InferenceService,
    component: Component,
    name: str,
    pod: Object,
    labels: dict[str, str],
    annotations: dict[str, str],
    config: Config,
) -> Object:
    """Rolling by default, so that old pods serve until new ones are Ready."""
    selector = {"app": f"isvc.{name}"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": service.metadata.namespace,
            "labels": labels | selector,
            "annotations": annotations,
        },
        "spec": {
            # Zero is for scaling from zero; until then one stays.
            "replicas": max(1, component.min_replicas if component.min_replicas is not None else 1),
            "selector": {"matchLabels": selector},
            "strategy": _strategy(component, config),
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "template": {
                "metadata": {"labels": labels | selector, "annotations": annotations},
                "spec": pod,
            },
        },
    }


def _strategy(component: Component, config: Config) -> Object:
    if component.deployment_strategy:
        return cast("Object", msgspec.to_builtins(component.deployment_strategy))
    rollout = config.deploy.deployment_rollout_strategy.default_rollout
    surge, unavailable = ("25%", "25%") if rollout is None else (rollout.max_surge, rollout.max_unavailable)
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": _amount(surge), "maxUnavailable": _amount(unavailable)},
    }


def _amount(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _takes_h2c_too(target: Object) -> bool:
    """Whether requests that share a connection are as well off as others: with our own server, where it is one process.
    Of several, a connection has only one."""
    ours = str(target.get("image", "")).startswith(f"{IMAGE}:") and target.get("command") is None
    return ours and not any(word.startswith("--workers") for word in texts(target.get("args")))


def service_object(
    service: InferenceService,
    name: str,
    pod: Object,
    labels: dict[str, str],
    annotations: dict[str, str],
    config: Config,
) -> tuple[Object, int | None]:
    """The Service, and its port for gRPC alone where there is one."""
    # A transformer beside the model is whom requests go to.
    target = container(pod, TRANSFORMER) or container(pod, MODEL) or pod["containers"][0]
    found: list[Object] = []
    grpc: int | None = None
    for number, port in enumerate(ports(target)):
        port_name = port.get("name") or (name if number == 0 else f"port-{port['containerPort']}")
        outer = 80 if number == 0 else int(port["containerPort"])
        entry: Object = {
            "name": port_name[:63],
            "port": outer,
            "targetPort": port["containerPort"],
            "protocol": port.get("protocol", "TCP"),
        }
        if "grpc" in port_name or "h2c" in port_name:
            entry["appProtocol"] = "kubernetes.io/h2c"
            if number:
                grpc = outer
        found.append(entry)
    if not found:
        found = [{"name": name[:63], "port": 80, "targetPort": first_port(target) or PORT, "protocol": "TCP"}]
    if H2C_TOO not in annotations and _takes_h2c_too(target):
        annotations = annotations | {H2C_TOO: "true"}
    spec: dict[str, Any] = {"selector": {"app": f"isvc.{name}"}, "ports": found, "type": "ClusterIP"}
    if config.service.service_cluster_ip_none:
        spec["clusterIP"] = "None"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": service.metadata.namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": spec,
    }, grpc
