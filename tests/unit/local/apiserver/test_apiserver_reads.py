"""Get and list: the present, the past, in chunks, by selectors, in the form that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from apiserver_api import Api, config, good, pod, refused

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"


def test_what_is_not_there_is_said_by_name(api: Api) -> None:
    status = refused(api.http.get(api.path("deployments", "web")), 404, "NotFound")
    assert status["message"] == 'deployments.apps "web" not found'
    assert status["details"] == {"name": "web", "group": "apps", "kind": "deployments"}


def test_a_list_is_its_namespaces(api: Api) -> None:
    api.create("configmaps", config("a"))
    listing = api.list("configmaps")
    assert (listing["kind"], listing["apiVersion"]) == ("ConfigMapList", "v1")
    assert [item["metadata"]["name"] for item in listing["items"]] == ["a"]
    assert int(listing["metadata"]["resourceVersion"]) > 0
    everywhere = good(api.http.get("/api/v1/configmaps"))
    assert api.namespace in {item["metadata"]["namespace"] for item in everywhere["items"]}


def test_an_empty_list_has_items(api: Api) -> None:
    """Clients loop over them."""
    assert api.list("secrets")["items"] == []


def test_labels_select(api: Api) -> None:
    for name, tier in (("a", "front"), ("b", "back"), ("c", "front")):
        api.create("configmaps", config(name, {"tier": tier}))
    api.create("configmaps", config("d"))
    assert api.names("configmaps", labelSelector="tier=front") == ["a", "c"]
    assert api.names("configmaps", labelSelector="tier in (back),tier") == ["b"]
    assert api.names("configmaps", labelSelector="!tier") == ["d"]
    refused(api.http.get(api.path("configmaps"), params={"labelSelector": "tier=("}), 400, "BadRequest")


def test_fields_select(api: Api) -> None:
    api.create("pods", pod("a"))
    api.create("pods", pod("b", nodeName="elsewhere"))
    assert api.names("pods", fieldSelector="spec.nodeName=local") == ["a"]
    assert api.names("pods", fieldSelector="spec.nodeName!=local,status.phase=Pending") == ["b"]
    assert api.names("pods", fieldSelector="metadata.name=b") == ["b"]
    assert api.names("pods", fieldSelector=f"metadata.namespace={api.namespace}") == ["a", "b"]
    status = refused(
        api.http.get(api.path("pods"), params={"fieldSelector": "spec.colour=red"}), 400, "BadRequest"
    )
    assert status["message"] == "field label not supported: spec.colour"


def test_chunks_show_one_moment(api: Api) -> None:
    for index in range(7):
        api.create("configmaps", config(f"c{index}"))
    first = api.list("configmaps", limit=3)
    assert len(first["items"]) == 3
    assert first["metadata"]["remainingItemCount"] == 4
    good(api.delete("configmaps", "c4"))
    api.create("configmaps", config("c45"))
    names = [item["metadata"]["name"] for item in first["items"]]
    token = first["metadata"]["continue"]
    while token:
        more = api.list("configmaps", limit=3, **{"continue": token})
        assert more["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [item["metadata"]["name"] for item in more["items"]]
        token = more["metadata"].get("continue")
    assert names == [f"c{index}" for index in range(7)]


def test_chunks_count_what_fits_a_selector(api: Api) -> None:
    for index in range(6):
        api.create("configmaps", config(f"c{index}", {"even": str(index % 2 == 0).lower()}))
    first = api.list("configmaps", limit=2, labelSelector="even=true")
    assert [item["metadata"]["name"] for item in first["items"]] == ["c0", "c2"]
    assert "remainingItemCount" not in first["metadata"], "nobody has counted"
    token = first["metadata"]["continue"]
    assert api.names("configmaps", limit=2, labelSelector="even=true", **{"continue": token}) == ["c4"]


def test_a_chunk_of_the_forgotten_past_says_how_to_go_on(fresh: Callable[..., Any]) -> None:
    with fresh(keep_rows=10, keep_s=0) as server, server.client() as http:
        api = Api(server, http, "default")
        for index in range(4):
            api.create("configmaps", config(f"c{index}"))
        first = api.list("configmaps", limit=2)
        for index in range(1010):
            api.patch("configmaps", "c0", {"data": {"n": str(index)}})
        token = first["metadata"]["continue"]
        status = refused(
            http.get(api.path("configmaps"), params={"limit": 2, "continue": token}), 410, "Expired"
        )
        assert "continue parameter is too old" in status["message"]
        token = status["metadata"]["continue"]
        assert api.names("configmaps", limit=2, **{"continue": token}) == ["c2", "c3"]
        old = {"resourceVersion": first["metadata"]["resourceVersion"], "resourceVersionMatch": "Exact"}
        refused(http.get(api.path("configmaps"), params=old), 410, "Expired")


def test_the_past_can_be_listed(api: Api) -> None:
    api.create("configmaps", config("a"))
    version = api.list("configmaps")["metadata"]["resourceVersion"]
    api.create("configmaps", config("b"))
    assert api.names("configmaps", resourceVersion=version, resourceVersionMatch="Exact") == ["a"]
    assert api.names("configmaps", resourceVersion=version, resourceVersionMatch="NotOlderThan") == ["a", "b"]
    assert api.names("configmaps", resourceVersion=version) == ["a", "b"]
    assert api.names("configmaps", resourceVersion="0") == ["a", "b"]


def test_the_future_cannot(api: Api) -> None:
    answer = api.http.get(api.path("configmaps"), params={"resourceVersion": "999999999"})
    status = refused(answer, 504, "Timeout")
    assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "-1"},
        {"limit": "many"},
        {"continue": "rubbish!"},
        {"continue": "e30"},
        {"resourceVersion": "abc"},
        {"resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "Nearly", "resourceVersion": "1"},
        {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
        {"watch": "perhaps"},
    ],
    ids=str,
)
def test_parameters_that_make_no_sense_are_refused(api: Api, params: dict[str, str]) -> None:
    refused(api.http.get(api.path("configmaps"), params=params), 400, "BadRequest")


# Forms


def test_a_table_shows_the_columns_of_the_kind(api: Api) -> None:
    api.create("configmaps", config("a", x="1", y="2"))
    table = good(api.http.get(api.path("configmaps"), headers={"Accept": TABLE}))
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"][:2] == ["a", 2]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert table["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("include", "kind"), [("None", None), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap")]
)
def test_a_table_includes_what_is_asked_for(api: Api, include: str, kind: str | None) -> None:
    api.create("configmaps", config("a"))
    for path in (api.path("configmaps"), api.path("configmaps", "a")):
        table = good(api.http.get(path, headers={"Accept": TABLE}, params={"includeObject": include}))
        assert (table["rows"][0].get("object") or {}).get("kind") == kind
    bad = api.http.get(api.path("configmaps"), headers={"Accept": TABLE}, params={"includeObject": "All"})
    refused(bad, 400, "BadRequest")


def test_metadata_alone_can_be_asked_for(api: Api) -> None:
    api.create("configmaps", config("a", x="1"))
    one = good(api.http.get(api.path("configmaps", "a"), headers={"Accept": PARTIAL}))
    assert (one["kind"], one["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert "data" not in one
    many = good(api.http.get(api.path("configmaps"), headers={"Accept": PARTIAL_LIST}))
    assert many["kind"] == "PartialObjectMetadataList"
    assert many["items"][0]["metadata"]["name"] == "a"


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/vnd.kubernetes.protobuf",
        "application/vnd.kubernetes.protobuf,application/json",
        "application/cbor",
        "text/html, application/xhtml+xml, */*;q=0.8",
        "application/json;as=Table;v=v9;g=meta.k8s.io, application/json",
    ],
)
def test_json_is_what_most_clients_get(api: Api, accept: str) -> None:
    api.create("configmaps", config("a"))
    answer = api.http.get(api.path("configmaps", "a"), headers={"Accept": accept})
    assert answer.headers["Content-Type"] == "application/json"
    assert good(answer)["kind"] == "ConfigMap"


def test_yaml_can_be_asked_for(api: Api) -> None:
    api.create("configmaps", config("a", x="1"))
    answer = api.http.get(api.path("configmaps", "a"), headers={"Accept": "application/yaml"})
    assert answer.headers["Content-Type"] == "application/yaml"
    assert yaml.safe_load(answer.text)["data"] == {"x": "1"}


def test_what_nobody_can_give_is_refused(api: Api) -> None:
    refused(api.http.get(api.path("configmaps"), headers={"Accept": "text/html"}), 406, "NotAcceptable")
