"""Whatever comes in, an answer goes out that says who is to blame; never a 5xx, never an end of the process."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from apiserver_api import Api, config, deployment, good, pod, refused, widget
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LIMIT = 3 << 20
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
fuzzing = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_the_limit_is_exact(api: Api) -> None:
    body = json.dumps(config("x")).encode()
    just = body + b" " * (LIMIT - len(body))
    headers = {"Content-Type": "application/json"}
    good(api.http.post(api.path("configmaps"), content=just, headers=headers), 201)
    status = refused(
        api.http.post(api.path("configmaps"), content=just + b" ", headers=headers),
        413,
        "RequestEntityTooLarge",
    )
    assert f"limit is {LIMIT} bytes, got {LIMIT + 1}" in status["message"]


def test_the_limit_holds_without_a_length(api: Api) -> None:
    chunks = (b" " * 65536 for _ in range(100))
    answer = api.http.post(
        api.path("configmaps"), content=chunks, headers={"Content-Type": "application/json"}
    )
    refused(answer, 413, "RequestEntityTooLarge")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "application/cbor"])
def test_unknown_media_are_refused(api: Api, media: str) -> None:
    answer = api.http.post(api.path("configmaps"), content=b"{}", headers={"Content-Type": media})
    assert (
        "accepted media types include: application/json"
        in refused(answer, 415, "UnsupportedMediaType")["message"]
    )


def test_yaml_bodies_are_read(api: Api) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata:\n  a: 'on'\n"
    answer = api.http.post(api.path("configmaps"), content=text, headers={"Content-Type": "application/yaml"})
    assert good(answer, 201)["data"] == {"a": "on"}


@pytest.mark.parametrize(
    "text",
    [
        b"a: [",
        b"\xff\xfe\xfa",
        b"a: &a [1]\nb: *a",
        b"a: &a [&b [&c [1,1],*c,*c],*b,*b]\nx: [*a,*a,*a]",
        b"!!python/object/apply:os.system ['true']",
        b"? [a, b]\n: c",
        b"a: !!binary aGk=",
        b"{" * 5000,
        b"- " * 3000,
        b"a: .nan",
    ],
    ids=repr,
)
def test_yaml_that_cannot_be_json_is_refused(api: Api, text: bytes) -> None:
    answer = api.http.post(api.path("configmaps"), content=text, headers={"Content-Type": "application/yaml"})
    refused(answer, 400, "BadRequest")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"\xff",
        b"NaN",
        b'{"a":NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"{}x",
    ],
    ids=lambda body: repr(body[:20]),
)
@pytest.mark.parametrize("plural", ["configmaps", "widgets"])
def test_bodies_that_are_no_object_are_refused(api: Api, plural: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    refused(api.http.post(api.path(plural), content=body, headers=headers), 400, "BadRequest")
    api.create(plural, config() if plural == "configmaps" else widget("settings"))
    refused(api.http.put(api.path(plural, "settings"), content=body, headers=headers), 400, "BadRequest")


def test_too_deep_an_object_is_refused(api: Api) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = {"a": deep}
    answer = api.http.post(api.path("widgets"), json=widget(free=deep))
    assert "nested more than 100 levels" in refused(answer, 400, "BadRequest")["message"]


BODIES = {"pods": pod, "deployments": deployment, "configmaps": config, "widgets": widget}


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, Any]:
    """A sound object in which one value is something else."""
    plural = draw(
        st.sampled_from(
            [*BODIES, "services", "secrets", "events", "endpointslices", "namespaces", "httproutes"]
        )
    )
    body = BODIES[plural]("x") if plural in BODIES else {"metadata": {"name": "x"}, "spec": {}, "data": {}}
    body = json.loads(json.dumps(body))
    at: Any = body
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = draw(st.sampled_from(keys)) if keys and draw(st.booleans()) else None
        if key is None or not isinstance(at[key], dict | list):
            break
        at = at[key]
    words = st.sampled_from(
        ["metadata", "spec", "status", "labels", "finalizers", "ownerReferences", "managedFields", "containers",
         "resources", "selector", "ports", "template", "strategy", "generateName", "namespace", "name", "annotations",
         "creationTimestamp", "deletionTimestamp", "resourceVersion", "uid", "replicas", "env", "volumes", "data",
         "stringData", "type", "clusterIP", "clusterIPs", "involvedObject", "addressType"]
    )  # fmt: skip
    if isinstance(at, dict):
        at[key if key is not None else draw(words)] = draw(json_values)
    elif at:
        at[0] = draw(json_values)
    return plural, body


@fuzzing
@given(case=spoilt(), how=st.sampled_from(["post", "put", "merge", "apply", "status"]))
def test_spoilt_objects_are_the_writers_fault(api: Api, case: tuple[str, Any], how: str) -> None:
    plural, body = case
    try:
        content = json.dumps(body).encode()
    except UnicodeEncodeError:
        return
    if how in ("post", "put"):
        path = api.path(plural) if how == "post" else api.path(plural, "x")
        answer = api.http.request(
            how.upper(), path, content=content, headers={"Content-Type": "application/json"}
        )
    else:
        name = "x/status" if how == "status" else "x"
        answer = api.patched(plural, name, content, "merge" if how == "status" else how, dryRun="All")
    assert answer.status_code < 500, f"{how} {plural} {body}: {answer.text}"
    if answer.status_code in (200, 201) and how == "post" and plural != "namespaces":
        api.delete(plural, answer.json()["metadata"]["name"], {"gracePeriodSeconds": 0})


@fuzzing
@given(patch=json_values, kind=st.sampled_from(["json", "merge", "strategic", "apply"]))
def test_any_patch_gets_an_answer(api: Api, patch: Any, kind: str) -> None:
    api.http.post(api.path("deployments"), json=deployment())
    try:
        content = json.dumps(patch).encode()
    except UnicodeEncodeError:
        return
    answer = api.patched("deployments", "web", content, kind, dryRun="All")
    assert answer.status_code < 500, answer.text


@fuzzing
@given(
    path=st.lists(
        st.text(alphabet="abz./%-_~ äπ", max_size=8)
        | st.sampled_from(["api", "apis", "v1", "namespaces", "pods", "status", "default"]),
        max_size=7,
    ),
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]),
)
def test_any_address_gets_an_answer(api: Api, path: list[str], method: str) -> None:
    from urllib.parse import quote

    address = api.server.url + "/" + "/".join(quote(part) for part in path)
    answer = api.http.request(method, address, params={"dryRun": "All"})
    assert answer.status_code < 500, answer.text


@fuzzing
@given(
    params=st.dictionaries(
        st.sampled_from(
            ["labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "resourceVersionMatch",
             "timeoutSeconds", "fieldManager", "fieldValidation", "dryRun", "force", "includeObject", "pretty"]
        ),
        st.text(max_size=12),
        max_size=4,
    ),
    name=st.sampled_from(["", "x"]),
)  # fmt: skip
def test_any_parameters_get_an_answer(api: Api, params: dict[str, str], name: str) -> None:
    answer = api.http.get(api.path("pods", name), params=params)
    assert answer.status_code < 500 or answer.status_code == 504, answer.text
    if not name:
        answer = api.http.post(
            api.path("configmaps"), json={"metadata": {"generateName": "x-"}}, params=params
        )
        assert answer.status_code < 500, answer.text


def test_a_fault_of_ours_tells_nothing_of_our_insides(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelport.local.apiserver import get

    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(get, "one", broken)
    api.create("configmaps", config())
    answer = api.http.get(api.path("configmaps", "settings"))
    assert "secret detail" not in json.dumps(refused(answer, 500, "InternalError"))


def test_addresses_that_are_nothing_are_not_found(api: Api) -> None:
    for path in (
        "/api/v2",
        "/apis/nope",
        "/apis/apps/v9",
        "/apis/apps/v1/nope",
        "/api/v1/nope",
        "/nope",
        "/api/v1//pods",
    ):
        assert refused(api.http.get(path), 404, "NotFound")
    refused(api.http.get(api.path("pods", "x/y/z")), 404, "NotFound")
    refused(api.http.get(api.path("configmaps", "x/status")), 404, "NotFound")
    refused(api.http.get("/api/v1/namespaces/default/nodes"), 404, "NotFound")


def test_methods_that_mean_nothing_are_refused(api: Api) -> None:
    refused(api.http.post(api.path("configmaps", "x")), 405, "MethodNotAllowed")
    refused(api.http.put(api.path("configmaps")), 405, "MethodNotAllowed")
    refused(api.http.patch(api.path("configmaps")), 405, "MethodNotAllowed")
    refused(api.http.request("OPTIONS", api.path("configmaps")), 405, "MethodNotAllowed")
    refused(api.http.delete(api.path("widgets", "x/status")), 405, "MethodNotAllowed")


def test_numbers_keep_their_value(api: Api) -> None:
    made = api.create("widgets", widget(free={"big": 2**53 + 1, "small": 0.1, "whole": 1.0}))
    assert made["spec"]["free"] == {"big": 2**53 + 1, "small": 0.1, "whole": 1.0}
    assert msgspec.json.decode(msgspec.json.encode(made)) == made


@pytest.mark.parametrize(
    ("body", "media"),
    [
        ('{"metadata":{"name":"a"},"data":{"k":"1","k":"2"}}', "application/json"),
        ("metadata: {name: a}\ndata:\n  k: '1'\n  k: '2'\n", "application/yaml"),
    ],
    ids=["json", "yaml"],
)
def test_a_key_that_is_there_twice_is_said(body: str, media: str, api: Api) -> None:
    """The parser takes the last one; whoever pasted a block twice would never learn which one counts."""
    path, headers = api.path("configmaps"), {"Content-Type": media}
    strict = api.http.post(path, content=body, headers=headers, params={"fieldValidation": "Strict"})
    assert 'strict decoding error: duplicate field "data.k"' in refused(strict, 400, "BadRequest")["message"]
    warned = api.http.post(path, content=body, headers=headers)
    assert warned.headers["warning"] == '299 - "duplicate field \\"data.k\\""'
    assert good(warned, 201)["data"] == {"k": "2"}
    patch = {"Content-Type": "application/merge-patch+json"}
    again = api.http.patch(
        f"{path}/a",
        content=b'{"data":{"x":"1","x":"2"}}',
        headers=patch,
        params={"fieldValidation": "Strict"},
    )
    assert 'duplicate field "data.x"' in refused(again, 400, "BadRequest")["message"]
