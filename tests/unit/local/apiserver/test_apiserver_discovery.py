"""What clients find out before they ask: groups, resources, schemas, version."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from apiserver_api import Api, good, refused

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


def resources(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in document["resources"]}


def test_the_old_form_lists_everything(api: Api) -> None:
    assert good(api.http.get("/api"))["versions"] == ["v1"]
    groups = {group["name"]: group for group in good(api.http.get("/apis"))["groups"]}
    assert {"apps", "serving.kserve.io", "gateway.networking.k8s.io", "authorization.k8s.io"} <= groups.keys()
    assert good(api.http.get("/apis/apps")) == {"kind": "APIGroup", "apiVersion": "v1"} | groups["apps"]
    core = resources(good(api.http.get("/api/v1")))
    assert core["pods"] == {
        "name": "pods",
        "singularName": "pod",
        "namespaced": True,
        "kind": "Pod",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["po"],
        "categories": ["all"],
    }
    assert {"pods/status", "pods/log", "pods/binding", "pods/eviction", "namespaces/finalize"} <= core.keys()
    apps = resources(good(api.http.get("/apis/apps/v1")))
    assert apps["deployments/scale"]["kind"] == "Scale"
    assert apps["deployments/scale"]["group"] == "autoscaling"
    measured = resources(good(api.http.get("/apis/metrics.k8s.io/v1beta1")))
    assert measured["pods"]["verbs"] == ["get", "list"]


def test_the_aggregated_form_says_the_same(api: Api) -> None:
    found: set[tuple[str, str, str]] = set()
    for path in ("/api", "/apis"):
        answer = api.http.get(path, headers={"Accept": AGGREGATED})
        assert (
            answer.headers["Content-Type"]
            == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        )
        document = good(answer)
        assert (document["kind"], document["apiVersion"]) == (
            "APIGroupDiscoveryList",
            "apidiscovery.k8s.io/v2",
        )
        for group in document["items"]:
            name = group["metadata"].get("name", "")
            for version in group["versions"]:
                for one in version["resources"]:
                    found.add((name, version["version"], one["resource"]))
                    found |= {
                        (name, version["version"], f"{one['resource']}/{sub['subresource']}")
                        for sub in one.get("subresources", [])
                    }
    told = {("", "v1", name) for name in resources(good(api.http.get("/api/v1")))}
    for group in good(api.http.get("/apis"))["groups"]:
        for version in group["versions"]:
            path = f"/apis/{version['groupVersion']}"
            told |= {
                (group["name"], version["version"], name) for name in resources(good(api.http.get(path)))
            }
    assert found == told


def test_discovery_is_not_sent_twice(api: Api) -> None:
    first = api.http.get("/apis", headers={"Accept": AGGREGATED})
    again = api.http.get("/apis", headers={"Accept": AGGREGATED, "If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_version_is_kubernetes(api: Api) -> None:
    version = good(api.http.get("/version"))
    assert version["major"] == "1"
    assert version["gitVersion"].endswith("+modelport")


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(item) for item in node))
    return set()


def test_every_document_is_whole(api: Api) -> None:
    """A reference that leads nowhere breaks kubectl explain for the whole group."""
    index = good(api.http.get("/openapi/v3"))["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/test.modelport.io/v1"} <= index.keys()
    for name, entry in index.items():
        answer = api.http.get(entry["serverRelativeURL"])
        document = good(answer)
        assert "immutable" in answer.headers["Cache-Control"], name
        schemas = {f"#/components/schemas/{key}" for key in document["components"]["schemas"]}
        assert references(document) <= schemas, name


def test_clients_see_what_may_be_checked_and_patched(api: Api) -> None:
    document = good(api.http.get("/openapi/v3/apis/apps/v1"))
    path = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    assert path["patch"]["x-kubernetes-group-version-kind"] == {
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
    }
    names = {one["name"] for one in path["patch"]["parameters"]}
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= names
    assert "application/strategic-merge-patch+json" in path["patch"]["requestBody"]["content"]
    custom = good(api.http.get("/openapi/v3/apis/test.modelport.io/v1"))
    path = custom["paths"]["/apis/test.modelport.io/v1/namespaces/{namespace}/widgets/{name}"]
    assert "application/strategic-merge-patch+json" not in path["patch"]["requestBody"]["content"]
    schema = custom["components"]["schemas"]["io.modelport.test.v1.Widget"]
    assert schema["properties"]["spec"]["properties"]["size"]["description"] == "Its size in millimetres."
    assert schema["x-kubernetes-group-version-kind"] == [
        {"group": "test.modelport.io", "version": "v1", "kind": "Widget"}
    ]


def test_a_read_only_kind_has_no_writing_paths(api: Api) -> None:
    document = good(api.http.get("/openapi/v3/apis/metrics.k8s.io/v1beta1"))
    path = document["paths"]["/apis/metrics.k8s.io/v1beta1/nodes/{name}"]
    assert set(path) == {"get", "parameters"}


def test_documents_are_compressed_and_not_sent_twice(api: Api) -> None:
    with api.http.stream("GET", "/openapi/v3/api/v1", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        content = b"".join(answer.iter_raw())
    assert b'"openapi":"3.0.0"' in gzip.decompress(content)
    plain = api.http.get("/openapi/v3/api/v1", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    again = api.http.get("/openapi/v3/api/v1", headers={"If-None-Match": plain.headers["ETag"]})
    assert again.status_code == 304


def test_the_older_document_has_the_same_kinds(api: Api) -> None:
    document = good(api.http.get("/openapi/v2"))
    assert document["swagger"] == "2.0"
    assert references(document) <= {f"#/definitions/{name}" for name in document["definitions"]}
    kinds = {
        kind["kind"]
        for one in document["definitions"].values()
        for kind in one.get("x-kubernetes-group-version-kind", [])
    }
    assert {"Pod", "Deployment", "Widget", "InferenceService"} <= kinds
    refused(api.http.get("/openapi/v2", headers={"Accept": "text/html"}), 406, "NotAcceptable")


def test_kubectl_is_told_of_no_kind_that_is_not_served(api: Api) -> None:
    """It asks for this form alone, and only where version 3 has no such kind; refused, it would speak of media types."""
    accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    answer = api.http.get("/openapi/v2", headers={"Accept": accept})
    assert answer.headers["content-type"] == accept.replace("@", ".")
    assert answer.content.startswith(b"\x0a\x032.0\x12")


@pytest.mark.parametrize("path", ["/openapi/v3/apis/nope/v1", "/openapi/v1", "/openapi/v3/api"])
def test_documents_that_are_not_there(api: Api, path: str) -> None:
    refused(api.http.get(path), 404, "NotFound")


def test_metrics_count(api: Api) -> None:
    text = api.http.get("/metrics").text
    assert 'apiserver_request_total{method="POST",code="201"}' in text
    assert 'apiserver_storage_objects{resource="namespaces"}' in text
    assert "apiserver_request_duration_seconds_bucket" in text
    assert 'apiserver_longrunning_requests{verb="watch"}' in text
