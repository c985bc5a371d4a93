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


def with_versions(*names: str, stored: str) -> dict[str, Any]:
    """A definition that serves several versions, of which one is stored."""
    body = definition()
    first = body["spec"]["versions"][0]
    body["spec"]["versions"] = [first | {"name": name, "storage": name == stored} for name in names]
    return body


def test_all_versions_show_the_same_objects_each_under_its_name(api: Api) -> None:
    """A client that knows only the other version could not read or write what is there."""
    body = with_versions("v1", "v1beta1", stored="v1")
    path = establish(api, body)
    other = path.replace("/v1/", "/v1beta1/")
    old, new = (f"{body['spec']['group']}/{version}" for version in ("v1beta1", "v1"))
    made = good(api.http.post(other, json=box() | {"apiVersion": old, "kind": "Box"}), 201)
    assert made["apiVersion"] == old
    assert good(api.http.get(f"{path}/a"))["apiVersion"] == new
    for each, version in ((path, new), (other, old)):
        listed = good(api.http.get(each))
        assert (listed["apiVersion"], listed["items"][0]["apiVersion"]) == (version, version)
        merge = {"Content-Type": "application/merge-patch+json"}
        patched = good(api.http.patch(f"{each}/a", json={"spec": {"colour": version}}, headers=merge))
        assert (patched["apiVersion"], patched["spec"]["colour"]) == (version, version)
        answer = api.http.put(f"{each}/a", json=patched | {"spec": {"size": 3}})
        assert good(answer)["apiVersion"] == version
        telling = good(
            api.http.put(
                f"{each}/a/status", json=patched | {"status": {"phase": version}, "metadata": {"name": "a"}}
            )
        )
        assert telling["status"] == {"phase": version}
        apply = {"Content-Type": "application/apply-patch+yaml"}
        applied = {"apiVersion": version, "kind": "Box", "spec": {"size": 4}}
        query = {"fieldManager": version.rpartition("/")[2], "force": "true"}
        answer = api.http.patch(f"{each}/a", json=applied, headers=apply, params=query)
        assert good(answer)["apiVersion"] == version
        refused(
            api.http.post(each, json=box("x") | {"apiVersion": "other/v9", "kind": "Box"}), 400, "BadRequest"
        )
    query = {"watch": "true", "resourceVersion": "0", "timeoutSeconds": "1"}
    for each, version in ((path, new), (other, old)):
        assert f'"apiVersion":"{version}"' in api.http.get(each, params=query).text
    found = good(api.http.get(f"/apis/{body['spec']['group']}"))
    assert [one["version"] for one in found["versions"]] == ["v1", "v1beta1"]
    assert good(api.http.delete(f"{other}/a"))["status"] == "Success"
    assert good(api.http.get(path))["items"] == []


def test_objects_outlive_a_change_of_the_stored_version(api: Api) -> None:
    body = with_versions("v1", "v2", stored="v1")
    path = establish(api, body)
    good(api.http.post(path, json=box()), 201)
    name = f"{CRDS}/{body['metadata']['name']}"
    found = good(api.http.get(name))
    for one in found["spec"]["versions"]:
        one["storage"] = one["name"] == "v2"
    good(api.http.put(name, json=found))
    wait_until(lambda: good(api.http.get(name))["status"]["storedVersions"] == ["v1", "v2"])
    assert good(api.http.get(path.replace("/v1/", "/v2/") + "/a"))["apiVersion"].endswith("/v2")
    assert good(api.http.get(f"{path}/a"))["apiVersion"].endswith("/v1")
    found = good(api.http.get(name))
    found["spec"]["versions"][0]["served"] = False
    good(api.http.put(name, json=found))
    wait_until(lambda: api.http.get(path).status_code == 404)
    assert good(api.http.get(path.replace("/v1/", "/v2/") + "/a"))["spec"]["size"] == 1
    good(api.http.delete(name))
    wait_until(lambda: api.http.get(name).status_code == 404)


def test_a_default_that_comes_later_is_read_into_what_is_stored(api: Api) -> None:
    body = definition()
    properties = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    path = establish(api, body)
    good(api.http.post(path, json=box()), 201)
    properties["depth"] = {"type": "integer", "default": 7}
    name = f"{CRDS}/{body['metadata']['name']}"
    good(api.http.put(name, json=good(api.http.get(name)) | {"spec": body["spec"]}))
    wait_until(lambda: good(api.http.get(f"{path}/a"))["spec"].get("depth") == 7)


def test_a_namespace_goes_with_objects_of_a_kind_that_is_served_no_more(api: Api) -> None:
    body = definition()
    path = establish(api, body)
    good(api.http.post("/api/v1/namespaces", json={"metadata": {"name": "leaving"}}), 201)
    good(api.http.post(path.replace(api.namespace, "leaving"), json=box()), 201)
    name = f"{CRDS}/{body['metadata']['name']}"
    found = good(api.http.get(name))
    found["spec"]["versions"][0]["served"] = False
    good(api.http.put(name, json=found))
    wait_until(lambda: api.http.get(path).status_code == 404)
    good(api.http.delete("/api/v1/namespaces/leaving"))
    wait_until(lambda: api.http.get("/api/v1/namespaces/leaving").status_code == 404)


def test_an_llm_of_the_older_version_is_stored_as_the_newer_one(api: Api) -> None:
    """KServe's clients read and write both versions."""
    old, new = (
        f"/apis/serving.kserve.io/{version}/namespaces/{api.namespace}/llminferenceservices"
        for version in ("v1alpha1", "v1alpha2")
    )
    model = {"uri": "hf://a/b", "criticality": "Critical"}
    made = good(api.http.post(old, json={"metadata": {"name": "a"}, "spec": {"model": model}}), 201)
    assert made["apiVersion"] == "serving.kserve.io/v1alpha1"
    assert made["spec"]["model"] == model | {"name": "a"}
    assert "annotations" not in made["metadata"]
    found = good(api.http.get(f"{new}/a"))
    assert found["metadata"]["annotations"] == {"internal.serving.kserve.io/model-criticality": "Critical"}
    assert found["spec"]["model"] == {"uri": "hf://a/b", "name": "a"}
    strict = {"fieldValidation": "Strict"}
    body = {"metadata": {"name": "b"}, "spec": {"model": model}}
    refused(api.http.post(new, json=body, params=strict), 400, "BadRequest")
    merge = {"Content-Type": "application/merge-patch+json"}
    change = {"spec": {"model": {"criticality": "Sheddable"}}}
    good(api.http.patch(f"{old}/a", json=change, headers=merge))
    assert good(api.http.get(f"{old}/a"))["spec"]["model"]["criticality"] == "Sheddable"
    definition = good(api.http.get(f"{CRDS}/llminferenceservices.serving.kserve.io"))
    assert [one["name"] for one in definition["spec"]["versions"]] == ["v1alpha2", "v1alpha1"]
    told = good(api.http.get("/apis/serving.kserve.io"))["versions"]
    assert [one["version"] for one in told] == ["v1beta1", "v1alpha2", "v1alpha1"], "kubectl takes the first"
