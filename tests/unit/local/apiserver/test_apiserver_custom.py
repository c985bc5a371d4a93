"""Kinds of the users' own: defined, served by their schema, and gone with all their objects."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from apiserver_api import Api, good, refused, wait_until

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_numbers = itertools.count()


def definition(**changed: Any) -> dict[str, Any]:
    """Of a kind that no other test has."""
    group = f"g{next(_numbers)}.example.org"
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "colour": {"type": "string", "default": "red"},
                },
            },
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    }
    spec = {
        "group": group,
        "scope": "Namespaced",
        "names": {"plural": "boxes", "kind": "Box", "shortNames": ["bx"]},
        "versions": [version],
    }
    return {"metadata": {"name": f"boxes.{group}"}, "spec": spec | changed}


def establish(api: Api, body: dict[str, Any]) -> str:
    """Its collection, once it is served."""
    good(api.http.post(CRDS, json=body), 201)
    wait_until(lambda: condition(api, body, "Established") == "True")
    return f"/apis/{body['spec']['group']}/v1/namespaces/{api.namespace}/boxes"


def condition(api: Api, body: dict[str, Any], kind: str) -> str:
    found = good(api.http.get(f"{CRDS}/{body['metadata']['name']}"))
    conditions = found.get("status", {}).get("conditions", [])
    return next((one["status"] for one in conditions if one["type"] == kind), "")


def box(name: str = "a", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"size": 1} | spec}


def test_a_kind_is_served_by_its_schema(api: Api) -> None:
    body = definition()
    path = establish(api, body)
    made = good(api.http.post(path, json=box(unknown=1)), 201)
    assert made["spec"] == {"size": 1, "colour": "red"}, "defaulted, and without what it does not know"
    assert made["kind"] == "Box"
    assert made["metadata"]["generation"] == 1
    status = refused(api.http.post(path, json=box("b", size=0)), 422, "Invalid")
    assert "spec.size" in status["message"]
    refused(api.http.post(path, json={"metadata": {"name": "c"}, "spec": {}}), 422, "Invalid")
    good(api.http.put(f"{path}/a/status", json=made | {"status": {"phase": "Open"}}))
    assert good(api.http.get(path))["items"][0]["status"] == {"phase": "Open"}
    table = api.http.get(path, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}).json()
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["a", 1]


def test_it_is_in_discovery_and_in_the_schemas(api: Api) -> None:
    """Else kubectl neither finds it nor explains it."""
    body = definition()
    group = body["spec"]["group"]
    before = good(api.http.get("/openapi/v3"))["paths"]
    establish(api, body)
    found = good(api.http.get(f"/apis/{group}/v1"))["resources"]
    assert [one["name"] for one in found] == ["boxes", "boxes/status"]
    assert found[0]["shortNames"] == ["bx"]
    assert f"apis/{group}/v1" in set(good(api.http.get("/openapi/v3"))["paths"]) - set(before)
    schemas = good(api.http.get(f"/openapi/v3/apis/{group}/v1"))["components"]["schemas"]
    assert any(name.endswith(".v1.Box") for name in schemas)


def test_its_own_fields_can_be_selected(api: Api) -> None:
    body = definition()
    body["spec"]["versions"][0]["selectableFields"] = [{"jsonPath": ".spec.colour"}]
    path = establish(api, body)
    for name, colour in (("a", "red"), ("b", "blue")):
        good(api.http.post(path, json=box(name, colour=colour)), 201)
    found = good(api.http.get(path, params={"fieldSelector": "spec.colour=blue"}))
    assert [one["metadata"]["name"] for one in found["items"]] == ["b"]
    refused(api.http.get(path, params={"fieldSelector": "spec.size=1"}), 400, "BadRequest")


def test_a_changed_schema_counts_at_once(api: Api) -> None:
    body = definition()
    path = establish(api, body)
    live = good(api.http.get(f"{CRDS}/{body['metadata']['name']}"))
    spec = live["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["weight"] = {"type": "number"}
    good(api.http.put(f"{CRDS}/{body['metadata']['name']}", json=live))

    def kept() -> bool:
        made = api.http.post(
            path, json={"metadata": {"generateName": "w-"}, "spec": {"size": 1, "weight": 2.5}}
        )
        return good(made, 201)["spec"].get("weight") == 2.5

    wait_until(kept)


def test_it_goes_with_all_its_objects(api: Api) -> None:
    body = definition()
    path = establish(api, body)
    held = box("held") | {"metadata": {"name": "held", "finalizers": ["example.org/hold"]}}
    for item in (box(), held):
        good(api.http.post(path, json=item), 201)
    good(api.http.delete(f"{CRDS}/{body['metadata']['name']}"))
    wait_until(lambda: [one["metadata"]["name"] for one in good(api.http.get(path))["items"]] == ["held"])
    patch = {"Content-Type": "application/merge-patch+json"}
    good(api.http.patch(f"{path}/held", content=b'{"metadata":{"finalizers":null}}', headers=patch))
    wait_until(lambda: api.http.get(f"{CRDS}/{body['metadata']['name']}").status_code == 404)
    assert api.http.get(path).status_code == 404


def test_it_is_still_there_after_a_restart(fresh: Any) -> None:
    body = definition()
    with fresh() as server, server.client() as http:
        api = Api(server, http, "default")
        path = establish(api, body)
        good(http.post(path, json=box()), 201)
    with fresh() as server, server.client() as http:
        assert good(http.get(path))["items"][0]["metadata"]["name"] == "a"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"scope": "Everywhere"}, "spec.scope"),
        ({"versions": []}, "exactly one version marked as storage"),
        ({"versions": [{"name": "v1", "served": True, "storage": True}]}, "schemas are required"),
        ({"names": {"plural": "others", "kind": "Box"}}, "metadata.name"),
        (
            {"conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}}},
            "no webhooks are called",
        ),
    ],
    ids=["scope", "versions", "schema", "name", "conversion"],
)
def test_what_cannot_be_served_is_refused(changed: dict[str, Any], words: str, api: Api) -> None:
    status = refused(api.http.post(CRDS, json=definition(**changed)), 422, "Invalid")
    assert words in status["message"]


def test_built_in_kinds_cannot_be_changed(api: Api) -> None:
    """Half of KServe's CRDs applied over ours would serve neither."""
    name = "inferenceservices.serving.kserve.io"
    live = good(api.http.get(f"{CRDS}/{name}"))
    live["spec"]["names"]["shortNames"] = ["x"]
    status = refused(api.http.put(f"{CRDS}/{name}", json=live), 403, "Forbidden")
    assert "this kind is built in" in status["message"]
    refused(api.http.delete(f"{CRDS}/{name}"), 403, "Forbidden")


def test_gateway_api_is_defined_as_on_a_cluster(api: Api) -> None:
    """Installers look for these definitions before they install a route."""
    found = good(api.http.get(f"{CRDS}/httproutes.gateway.networking.k8s.io"))
    schema = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["properties"]["spec"]["properties"]["hostnames"]["type"] == "array"
    assert "$ref" not in str(schema)
    assert {one["type"]: one["status"] for one in found["status"]["conditions"]}["Established"] == "True"
