"""Bodies in protocol buffers: what they mean in JSON, and what of them is nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest
from apiserver_api import Api, good, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.kube.errors import ApiError
from modelport.local.apiserver.protobuf import MAGIC, parse_protobuf

MEDIA = "application/vnd.kubernetes.protobuf"


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def enveloped(api_version: str, kind: str, raw: bytes) -> bytes:
    return (
        MAGIC + field(1, field(1, api_version) + field(2, kind)) + field(2, raw) + field(3, "") + field(4, "")
    )


NAMED = field(1, field(1, "x") + field(2, "") + field(8, b"") + field(11, field(1, "app") + field(2, "web")))


def test_a_secret_is_read(api: Api) -> None:
    raw = NAMED + field(2, field(1, "key") + field(2, b"\x00\x01")) + field(3, "Opaque")
    answer = api.http.post(
        api.path("secrets"),
        content=enveloped("v1", "Secret", raw),
        headers={"Content-Type": MEDIA, "Accept": MEDIA},
    )
    made = good(answer, 201)
    assert made["data"] == {"key": "AAE="}
    assert made["metadata"]["labels"] == {"app": "web"}


def test_empty_values_are_left_out_as_in_json_and_zeros_behind_pointers_kept() -> None:
    spec = field(1, 0) + field(5, 0) + field(7, 0)
    found = parse_protobuf(enveloped("apps/v1", "Deployment", NAMED + field(2, spec)))
    assert found["metadata"] == {"name": "x", "labels": {"app": "web"}}
    assert found["spec"] == {"replicas": 0}, "minReadySeconds and paused are plain: zero means absent"


def test_special_types_are_what_they_are_in_json() -> None:
    port = field(1, "http") + field(3, 80) + field(4, field(1, 1) + field(2, 0) + field(3, "web"))
    other = field(3, 81) + field(4, field(1, 0) + field(2, 8081))
    found = parse_protobuf(enveloped("v1", "Service", NAMED + field(2, field(1, port) + field(1, other))))
    assert found["spec"]["ports"] == [
        {"name": "http", "port": 80, "targetPort": "web"},
        {"port": 81, "targetPort": 8081},
    ]
    limits = field(8, field(1, field(1, "cpu") + field(2, field(1, "500m"))))
    env = field(7, field(1, "A") + field(3, field(4, field(1, field(1, "names")) + field(2, "key"))))
    container = field(1, "main") + field(2, "nginx") + limits + env
    volume = field(1, "v") + field(2, field(2, b""))
    found = parse_protobuf(enveloped("v1", "Pod", NAMED + field(2, field(2, container) + field(1, volume))))
    main = found["spec"]["containers"][0]
    assert main["resources"] == {"limits": {"cpu": "500m"}}
    assert main["env"] == [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "names", "key": "key"}}}]
    assert found["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}], "a source lies beside the name"
    lease = field(2, field(1, "me") + field(3, field(1, 1_700_000_000) + field(2, 5_000)))
    found = parse_protobuf(enveloped("coordination.k8s.io/v1", "Lease", NAMED + lease))
    assert found["spec"] == {"holderIdentity": "me", "acquireTime": "2023-11-14T22:13:20.000005Z"}
    options = field(1, -1)
    assert parse_protobuf(enveloped("v1", "DeleteOptions", options))["gracePeriodSeconds"] == -1


def test_fields_of_a_newer_client_are_passed_over() -> None:
    assert parse_protobuf(enveloped("v1", "ConfigMap", NAMED + field(99, "new"))) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x", "labels": {"app": "web"}},
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        MAGIC,
        MAGIC + b"\xff" * 20,
        enveloped("v9", "Thing", b""),
        enveloped("v1", "ConfigMap", b"\x0a\xff\x01"),
        enveloped("v1", "ConfigMap", field(1, 5)),
        enveloped("v1", "ConfigMap", field(1, field(1, b"\xff\xfe"))),
        enveloped("v1", "ConfigMap", varint(1 << 3 | 3)),
    ],
    ids=lambda body: repr(body[:12]),
)
def test_nonsense_is_refused(api: Api, body: bytes) -> None:
    answer = api.http.post(api.path("configmaps"), content=body, headers={"Content-Type": MEDIA})
    refused(answer, 400, "BadRequest")


def test_a_kind_of_another_address_is_refused(api: Api) -> None:
    body = enveloped("v1", "Secret", NAMED)
    refused(
        api.http.post(api.path("configmaps"), content=body, headers={"Content-Type": MEDIA}),
        400,
        "BadRequest",
    )


@settings(max_examples=300, deadline=None)
@given(
    raw=st.binary(max_size=60),
    kind=st.sampled_from(["v1/Pod", "apps/v1/Deployment", "v1/Secret", "v1/Event"]),
)
def test_any_bytes_get_an_answer(raw: bytes, kind: str) -> None:
    api_version, _, name = kind.rpartition("/")
    for body in (enveloped(api_version, name, raw), MAGIC + raw, raw):
        try:
            found: Any = parse_protobuf(body)
        except ApiError as error:
            if error.code != 400:
                raise
        else:
            json.dumps(found)


def test_nesting_has_an_end() -> None:
    """JSONSchemaProps and the like may hold themselves: a few kilobytes must not exhaust the stack."""
    raw = b""
    for _ in range(3000):
        raw = field(1, raw)
    with pytest.raises(ApiError):
        parse_protobuf(MAGIC + field(1, raw) + raw)


def test_the_schema_of_a_definition_is_read() -> None:
    """Kubernetes' own Go clients send definitions so: with schemas where others have a list, or true, or texts."""
    text = field(5, "string")

    def named(name: str, schema: bytes) -> bytes:
        return field(29, field(1, name) + field(2, schema))

    schema = field(5, "object")
    schema += named("list", field(5, "array") + field(24, field(1, text)))
    schema += named("map", field(5, "object") + field(30, field(2, text)))
    schema += named("open", field(5, "object") + field(30, field(1, 1)))
    schema += named("shut", field(5, "object") + field(30, field(1, 0)))
    schema += named("off", field(5, "boolean") + field(8, field(1, "false")) + field(20, field(1, '"a"')))
    version = field(1, "v1") + field(2, 1) + field(3, 1) + field(4, field(1, schema))
    body = enveloped(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", NAMED + field(2, field(7, version))
    )
    found = parse_protobuf(body)["spec"]["versions"][0]
    assert (found["name"], found["served"], found["storage"]) == ("v1", True, True)
    assert found["schema"]["openAPIV3Schema"] == {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {"type": "string"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "open": {"type": "object", "additionalProperties": True},
            "shut": {"type": "object", "additionalProperties": False},
            "off": {"type": "boolean", "default": False, "enum": ["a"]},
        },
    }


@pytest.mark.parametrize("group", ["v1", "apps/v1", "test.modelport.io/v1"])
def test_every_group_has_delete_options(group: str) -> None:
    found = parse_protobuf(enveloped(group, "DeleteOptions", field(4, "Orphan")))
    assert found["propagationPolicy"] == "Orphan"
