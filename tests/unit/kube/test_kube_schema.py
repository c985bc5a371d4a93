"""Schemas: unknown fields, wrong types and missing fields are told where they are; defaults are filled in."""

import copy
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.kube.resource import (
    CUSTOM_RESOURCE_DEFINITION,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    GATEWAY,
    HTTP_ROUTE,
    POD,
    STANDARD,
    Resource,
)
from modelport.kube.schema import (
    UNTYPED,
    Schema,
    custom,
    definition,
    documents,
    fill_defaults,
    prune,
    schema_of,
    validate,
)
from modelport.kube.schema.kubernetes import DESCRIPTIONS, STRUCTURE, definition_name
from modelport.kube.value import same

ROOT = Path(__file__).parents[3]


def told(schema, value, path=""):
    return [(cause.field, cause.reason, cause.message) for cause in validate(schema, value, path)]


# Kubernetes' own


@pytest.mark.parametrize("resource", STANDARD, ids=lambda resource: resource.kind)
def test_every_kind_that_we_serve_has_a_schema(resource):
    schema = schema_of(resource)
    assert {"apiVersion", "kind", "metadata"} <= set(schema.properties)
    labels = schema.field("metadata").field("labels")
    assert labels.field("anything").type == "string"
    assert [
        gvk["kind"]
        for gvk in documents([definition_name(resource)])[definition_name(resource)][
            "x-kubernetes-group-version-kind"
        ]
    ].count(resource.kind) == 1


def test_kind_of_nobody_has_no_schema():
    assert schema_of(Resource(group="x", version="v1", kind="Nobody", plural="nobodies")) is None
    with pytest.raises(KeyError):
        definition("io.k8s.api.core.v1.Nobody")


def test_schemas_are_small_and_shipped():
    """The idle control process has 200 MB for everything; the wheel must hold the files."""
    assert STRUCTURE.stat().st_size < 300_000
    assert DESCRIPTIONS.stat().st_size < 300_000
    maturin = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["maturin"]
    assert STRUCTURE.is_relative_to(ROOT / maturin["python-source"])


def test_loading_one_kind_costs_little():
    """Started platforms read schemas at once; nothing may parse all of Kubernetes for a Pod."""
    code = (
        "import tracemalloc; tracemalloc.start()\n"
        "from modelport.kube.resource import CONFIG_MAP\n"
        "from modelport.kube.schema import schema_of\n"
        "before = tracemalloc.get_traced_memory()[0]\n"
        "schema_of(CONFIG_MAP).field('data')\n"
        "print(tracemalloc.get_traced_memory()[0] - before)"
    )
    grown = int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )
    assert grown < 600_000


def test_explanations_reach_every_level():
    """`kubectl explain deployment.spec.template.spec.containers.image` follows them by reference."""
    found = documents([definition_name(DEPLOYMENT)])
    place = found["io.k8s.api.apps.v1.Deployment"]
    for step in ("spec", "template", "spec", "containers"):
        field = place["properties"][step]
        reference = field.get("items") or field["allOf"][0]
        assert field["description"]
        place = found[reference["$ref"].rpartition("/")[2]]
    assert "image name" in place["properties"]["image"]["description"]
    names = set(found)
    assert {ref.rpartition("/")[2] for ref in references(found)} <= names
    assert all(ref.startswith("#/components/schemas/") for ref in references(found))


def references(node):
    if isinstance(node, dict):
        found = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return found + [ref for child in node.values() for ref in references(child)]
    return [ref for child in node for ref in references(child)] if isinstance(node, list) else []


def test_lists_know_how_they_merge():
    spec = schema_of(POD).field("spec")
    assert (spec.field("containers").list_type, spec.field("containers").list_keys) == ("map", ("name",))
    ports = spec.field("containers").items.field("ports")
    assert ports.list_keys == ("containerPort", "protocol")
    assert ports.items.field("protocol").default == "TCP"
    assert (ports.patch_strategy, ports.merge_key) == ("merge", "containerPort")
    assert spec.field("tolerations").list_type == "atomic"
    assert schema_of(POD).field("metadata").field("finalizers").list_type == "set"
    assert schema_of(DEPLOYMENT).field("spec").field("selector").map_type == "atomic"
    assert "retainKeys" in schema_of(DEPLOYMENT).field("spec").field("strategy").patch_strategy
    assert schema_of(DEPLOYMENT).field("spec").field("spam") is None


def test_schemas_may_refer_to_themselves():
    """CustomResourceDefinitions hold schemas of schemas."""
    spec = schema_of(CUSTOM_RESOURCE_DEFINITION).field("spec")
    props = spec.field("versions").items.field("schema").field("openAPIV3Schema")
    for _ in range(5):
        props = props.field("properties").field("anything")
    assert props.field("type").type == "string"
    assert props.field("default").open


DEPLOYED = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "creationTimestamp": None},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
        "template": {
            "metadata": {"creationTimestamp": None},
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "image": "i",
                        "ports": [{"containerPort": 80}],
                        "resources": {"limits": {"cpu": 1, "memory": "2Gi"}, "requests": {"cpu": 0.5}},
                        "livenessProbe": {"httpGet": {"port": "http"}},
                    }
                ]
            },
        },
    },
}


def test_ordinary_deployment_is_fine():
    schema = schema_of(DEPLOYMENT)
    pruned, unknown = prune(schema, DEPLOYED)
    assert unknown == []
    assert "creationTimestamp" not in pruned["metadata"]
    complete = fill_defaults(schema, pruned)
    assert complete["spec"]["template"]["spec"]["containers"][0]["ports"] == [
        {"containerPort": 80, "protocol": "TCP"}
    ]
    assert told(schema, complete) == []
    assert told(schema, DEPLOYED) == []


def test_every_mistake_in_a_deployment_is_told_with_its_path():
    broken = copy.deepcopy(DEPLOYED)
    broken["spec"]["replicas"] = "3"
    broken["spec"]["selector"]["matchLabels"]["app"] = 1
    container = broken["spec"]["template"]["spec"]["containers"][0]
    del container["name"]
    container["ports"] = {"containerPort": 80}
    container["resources"]["limits"]["cpu"] = True
    broken["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = 1.5
    broken["spec"]["template"]["spec"]["hostNetwork"] = "yes"
    assert [(cause.field, cause.reason) for cause in validate(schema_of(DEPLOYMENT), broken)] == [
        ("spec.selector.matchLabels.app", "FieldValueTypeInvalid"),
        ("spec.strategy.rollingUpdate.maxSurge", "FieldValueTypeInvalid"),
        ("spec.template.spec.containers[0].name", "FieldValueRequired"),
        ("spec.template.spec.containers[0].ports", "FieldValueTypeInvalid"),
        ("spec.template.spec.containers[0].resources.limits.cpu", "FieldValueInvalid"),
        ("spec.template.spec.hostNetwork", "FieldValueTypeInvalid"),
        ("spec.replicas", "FieldValueTypeInvalid"),
    ]


def test_unknown_fields_are_told_with_their_paths_and_taken_out():
    misspelt = copy.deepcopy(DEPLOYED)
    misspelt["spec"]["replica"] = 1
    misspelt["spec"]["template"]["spec"]["containers"][0]["imagePullpolicy"] = "Always"
    misspelt["extra"] = {}
    pruned, unknown = prune(schema_of(DEPLOYMENT), misspelt)
    assert unknown == ["spec.template.spec.containers[0].imagePullpolicy", "spec.replica", "extra"]
    assert same(pruned, prune(schema_of(DEPLOYMENT), DEPLOYED)[0])
    assert prune(schema_of(DEPLOYMENT), pruned) == (pruned, [])
    assert prune(schema_of(DEPLOYMENT), pruned)[0] is pruned


def test_status_may_leave_out_what_go_would_fill_in():
    """The node writes container statuses without image ids; Kubernetes' API server takes them too."""
    item = {
        "spec": {"containers": [{"name": "a"}]},
        "status": {"containerStatuses": [{"name": "a", "ready": True}]},
    }
    assert told(schema_of(POD), item) == []
    assert told(schema_of(ENDPOINT_SLICE), {"addressType": "IPv4"}) == []
    assert ("addressType", "FieldValueRequired", "Required value") in told(schema_of(ENDPOINT_SLICE), {})


def test_numbers_must_fit_their_go_types():
    item = {
        "spec": {"containers": [{"name": "a"}], "terminationGracePeriodSeconds": 2**63, "priority": 2**31}
    }
    assert [field for field, _, _ in told(schema_of(POD), item)] == [
        "spec.terminationGracePeriodSeconds",
        "spec.priority",
    ]
    assert told(schema_of(POD), {"spec": {"containers": [{"name": "a"}], "priority": 1.0}}) == [
        (
            "spec.priority",
            "FieldValueTypeInvalid",
            'Invalid value: "number": spec.priority in body must be of type integer: "number"',
        )
    ]
    event = {"metadata": {}, "involvedObject": {}, "eventTime": "yesterday"}
    assert [field for field, _, _ in told(schema_of(EVENT), event)] == ["eventTime"]


def test_routes_get_gateway_apis_defaults():
    """The translator counts on matches, weights and kinds being there."""
    route = {
        "metadata": {"name": "r"},
        "spec": {"parentRefs": [{"name": "g"}], "rules": [{"backendRefs": [{"name": "s"}]}]},
    }
    spec = fill_defaults(schema_of(HTTP_ROUTE), route)["spec"]
    assert spec["parentRefs"] == [{"name": "g", "group": "gateway.networking.k8s.io", "kind": "Gateway"}]
    assert spec["rules"] == [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "backendRefs": [{"name": "s", "group": "", "kind": "Service", "weight": 1}],
        }
    ]
    route["spec"]["rules"][0]["matches"] = [
        {"headers": [{"name": "x", "value": "y"}]},
        {"path": {"value": "/v1"}},
    ]
    matches = fill_defaults(schema_of(HTTP_ROUTE), route)["spec"]["rules"][0]["matches"]
    assert matches == [
        {
            "headers": [{"name": "x", "value": "y", "type": "Exact"}],
            "path": {"type": "PathPrefix", "value": "/"},
        },
        {"path": {"type": "PathPrefix", "value": "/v1"}},
    ]


def test_routes_are_checked_by_gateway_apis_rules():
    route = {
        "spec": {
            "hostnames": ["not a host"],
            "rules": [
                {
                    "backendRefs": [{"name": "s", "port": 70000, "weight": -1}],
                    "timeouts": {"request": "soon"},
                    "matches": [{"method": "get", "path": {"type": "Glob", "value": "/"}}],
                    "filters": [{"type": "Rewrite"}],
                }
            ],
        }
    }
    assert {field for field, _, _ in told(schema_of(HTTP_ROUTE), route)} == {
        "spec.hostnames[0]",
        "spec.rules[0].backendRefs[0].port",
        "spec.rules[0].backendRefs[0].weight",
        "spec.rules[0].timeouts.request",
        "spec.rules[0].matches[0].method",
        "spec.rules[0].matches[0].path.type",
        "spec.rules[0].filters[0].type",
    }
    gateway = {
        "spec": {"gatewayClassName": "c", "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}] * 2}
    }
    assert [(field, reason) for field, reason, _ in told(schema_of(GATEWAY), gateway)] == [
        ("spec.listeners[1]", "FieldValueDuplicate")
    ]


# Custom resources


def crd(**properties):
    return custom({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})


@pytest.mark.parametrize(
    ("schema", "value", "cause"),
    [
        (
            {"type": "integer"},
            "x",
            (
                "FieldValueTypeInvalid",
                'Invalid value: "string": spec.f in body must be of type integer: "string"',
            ),
        ),
        (
            {"type": "string"},
            None,
            ("FieldValueTypeInvalid", 'Invalid value: "null": spec.f in body must be of type string: "null"'),
        ),
        (
            {"type": "integer", "maximum": 10},
            15,
            ("FieldValueInvalid", "Invalid value: 15: spec.f in body should be less than or equal to 10"),
        ),
        (
            {"type": "integer", "minimum": 1},
            0,
            ("FieldValueInvalid", "Invalid value: 0: spec.f in body should be greater than or equal to 1"),
        ),
        (
            {"type": "number", "minimum": 0.5, "exclusiveMinimum": True},
            0.5,
            ("FieldValueInvalid", "Invalid value: 0.5: spec.f in body should be greater than 0.5"),
        ),
        (
            {"type": "number", "maximum": 2, "exclusiveMaximum": True},
            2,
            ("FieldValueInvalid", "Invalid value: 2: spec.f in body should be less than 2"),
        ),
        (
            {"type": "integer", "multipleOf": 3},
            4,
            ("FieldValueInvalid", "Invalid value: 4: spec.f in body should be a multiple of 3"),
        ),
        (
            {"type": "integer", "format": "int32"},
            2**31,
            (
                "FieldValueInvalid",
                "Invalid value: 2147483648: Checked value must be of type integer with format int32 in spec.f",
            ),
        ),
        (
            {"type": "string", "pattern": "^a+$"},
            "b",
            ("FieldValueInvalid", "Invalid value: \"b\": spec.f in body should match '^a+$'"),
        ),
        (
            {"type": "string", "minLength": 2},
            "é",
            ("FieldValueInvalid", 'Invalid value: "é": spec.f in body should be at least 2 chars long'),
        ),
        (
            {"type": "string", "maxLength": 2},
            "abc",
            ("FieldValueTooLong", "Too long: may not be more than 2 bytes"),
        ),
        (
            {"type": "string", "enum": ["a", "b"]},
            "c",
            ("FieldValueNotSupported", 'Unsupported value: "c": supported values: "a", "b"'),
        ),
        (
            {"type": "string", "format": "date-time"},
            "now",
            (
                "FieldValueTypeInvalid",
                'Invalid value: "now": spec.f in body must be of type date-time: "now"',
            ),
        ),
        (
            {"type": "string", "format": "byte"},
            "%",
            ("FieldValueTypeInvalid", 'Invalid value: "%": spec.f in body must be of type byte: "%"'),
        ),
        (
            {"type": "array", "maxItems": 1},
            [1, 2],
            ("FieldValueTooMany", "Too many: 2: must have at most 1 items"),
        ),
        (
            {"type": "array", "minItems": 1},
            [],
            ("FieldValueInvalid", "Invalid value: []: spec.f in body should have at least 1 items"),
        ),
        (
            {"type": "array", "uniqueItems": True},
            [1, 1],
            ("FieldValueInvalid", "Invalid value: [1,1]: spec.f in body shouldn't contain duplicates"),
        ),
        (
            {"type": "object", "maxProperties": 1, "x-kubernetes-preserve-unknown-fields": True},
            {"a": 1, "b": 2},
            ("FieldValueTooMany", "Too many: 2: must have at most 1 items"),
        ),
        (
            {"type": "object", "minProperties": 1, "x-kubernetes-preserve-unknown-fields": True},
            {},
            ("FieldValueInvalid", "Invalid value: {}: spec.f in body should have at least 1 properties"),
        ),
        (
            {"x-kubernetes-int-or-string": True},
            True,
            (
                "FieldValueTypeInvalid",
                'Invalid value: "boolean": spec.f in body must be of type integer,string: "boolean"',
            ),
        ),
        (
            {"type": "integer", "oneOf": [{"minimum": 5}, {"maximum": 10}]},
            7,
            (
                "FieldValueInvalid",
                'Invalid value: 7: "spec.f" must validate one and only one schema (oneOf). Found 2 valid alternatives',
            ),
        ),
        (
            {"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 1}]},
            3,
            ("FieldValueInvalid", 'Invalid value: 3: "spec.f" must validate at least one schema (anyOf)'),
        ),
        (
            {"type": "integer", "not": {"minimum": 5}},
            7,
            ("FieldValueInvalid", 'Invalid value: 7: "spec.f" must not validate the schema (not)'),
        ),
        (
            {"type": "integer", "allOf": [{"minimum": 5}]},
            3,
            ("FieldValueInvalid", "Invalid value: 3: spec.f in body should be greater than or equal to 5"),
        ),
    ],
)
def test_custom_resource_is_checked_in_kubernetes_words(schema, value, cause):
    assert told(crd(f=schema), {"spec": {"f": value}}) == [("spec.f", *cause)]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 1.0),
        ({"type": "number"}, 1),
        ({"type": "string", "nullable": True}, None),
        ({"x-kubernetes-int-or-string": True}, "25%"),
        ({"x-kubernetes-int-or-string": True}, 3),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, {"a": [None, {}]}),
        ({"x-kubernetes-preserve-unknown-fields": True}, None),
        ({"type": "string", "format": "something-else"}, "anything"),
        ({"type": "string", "pattern": r"^[a-z]+\z"}, "abc"),
        ({"type": "string", "pattern": "[[:alpha:]]+"}, "a pattern that only Go knows is left to Go"),
        ({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}, ["a", "b"]),
        ({"type": "string", "format": "duration"}, "1m30s"),
        ({"type": "string", "format": "ipv4"}, "127.0.0.1"),
        ({"type": "string", "format": "ipv6"}, "::1"),
        ({"type": "string", "format": "cidr"}, "10.0.0.0/8"),
        ({"type": "string", "format": "uri"}, "https://example.com"),
        ({"type": "string", "format": "uuid"}, "00000000-0000-0000-0000-000000000000"),
        ({"type": "string", "format": "date"}, "2025-01-31"),
        ({"type": "string", "format": "email"}, "a@b.c"),
        ({"type": "string", "format": "hostname"}, "Example.com"),
    ],
)
def test_what_fits_is_taken(schema, value):
    assert told(crd(f=schema), {"spec": {"f": value}}) == []


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("duration", "soon"),
        ("ipv4", "::1"),
        ("ipv6", "127.0.0.1"),
        ("cidr", "10.0.0.0"),
        ("uri", "no scheme"),
        ("uuid", "0"),
        ("date", "31.1.2025"),
        ("email", "nobody"),
        ("hostname", "a b"),
    ],
)
def test_what_has_not_its_format_is_refused(kind, bad):
    assert [
        reason for _, reason, _ in told(crd(f={"type": "string", "format": kind}), {"spec": {"f": bad}})
    ] == ["FieldValueTypeInvalid"]


def test_missing_fields_are_told_at_every_depth():
    schema = crd(
        list={
            "type": "array",
            "items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}},
        },
        map={
            "type": "object",
            "additionalProperties": {"type": "object", "required": ["b"], "properties": {}},
        },
    )
    value = {"spec": {"list": [{"a": "x"}, {}], "map": {"k": {}}}}
    assert told(schema, value) == [
        ("spec.list[1].a", "FieldValueRequired", "Required value"),
        ("spec.map.k.b", "FieldValueRequired", "Required value"),
    ]
    assert told(schema.field("spec"), value["spec"], "spec")[0][0] == "spec.list[1].a"


def test_keys_of_a_list_must_be_one_of_a_kind():
    ports = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["port"],
        "items": {"type": "object", "properties": {"port": {"type": "integer"}}},
    }
    names = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}
    value = {"spec": {"ports": [{"port": 1}, {"port": 2}, {"port": 1}], "names": ["a", "a"]}}
    assert told(crd(ports=ports, names=names), value) == [
        ("spec.ports[2]", "FieldValueDuplicate", 'Duplicate value: {"port":1}'),
        ("spec.names[1]", "FieldValueDuplicate", 'Duplicate value: "a"'),
    ]


def test_unknown_fields_go_unless_they_are_to_be_kept():
    """KServe's pods are schema-less below `containers`; what a user wrote there must survive."""
    schema = crd(
        known={"type": "object", "properties": {"a": {"type": "string"}}},
        kept={
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"typed": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
        pod={"type": "object", "x-kubernetes-embedded-resource": True, "properties": {}},
    )
    value = {
        "apiVersion": "x/v1",
        "kind": "X",
        "metadata": {"name": "x", "spam": 1},
        "spec": {
            "known": {"a": "x", "b": {"c": 1}},
            "kept": {"any": {"thing": [1]}, "typed": {"a": "x", "gone": 1}},
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "gone": 1},
            "gone": 1,
        },
    }
    pruned, unknown = prune(schema, value)
    assert unknown == ["metadata.spam", "spec.known.b", "spec.kept.typed.gone", "spec.pod.gone", "spec.gone"]
    assert pruned["spec"]["kept"] == {"any": {"thing": [1]}, "typed": {"a": "x"}}
    assert pruned["spec"]["pod"] == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}


def test_null_means_not_set_unless_it_is_allowed():
    schema = crd(
        a={"type": "string"}, b={"type": "string", "nullable": True}, c={"type": "integer", "default": 3}
    )
    pruned, unknown = prune(schema, {"spec": {"a": None, "b": None, "c": None}})
    assert (pruned, unknown) == ({"spec": {"b": None}}, [])
    assert fill_defaults(schema, pruned) == {"spec": {"b": None, "c": 3}}


def test_defaults_act_inside_lists_maps_and_defaults():
    inner = {"type": "object", "properties": {"x": {"type": "integer", "default": 1}}}
    schema = crd(
        list={"type": "array", "items": inner},
        map={"type": "object", "additionalProperties": inner},
        made={**inner, "default": {}},
        absent=inner,
    )
    value = {"spec": {"list": [{}, {"x": 2}], "map": {"k": {}}}}
    before = copy.deepcopy(value)
    filled = fill_defaults(schema, value)
    assert filled == {"spec": {"list": [{"x": 1}, {"x": 2}], "map": {"k": {"x": 1}}, "made": {"x": 1}}}
    assert value == before
    assert fill_defaults(schema, filled) is filled
    filled["spec"]["made"]["x"] = 9
    assert fill_defaults(schema, {"spec": {}})["spec"]["made"] == {"x": 1}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["", "a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["f", "g", "name", "spec"]), inner)
    ),
    max_leaves=10,
)
SCHEMA = crd(
    f={"type": "object", "properties": {"f": {"type": "integer", "default": 1}, "g": {"type": "string"}}},
    g={"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
)


@given(VALUES)
def test_any_json_is_pruned_filled_and_checked(value):
    """Whatever is sent gets causes, never a crash; and what is pruned and filled stays so."""
    item = {"spec": value}
    before = copy.deepcopy(item)
    pruned, _ = prune(SCHEMA, item)
    filled = fill_defaults(SCHEMA, pruned)
    assert same(item, before)
    assert prune(SCHEMA, pruned) == (pruned, [])
    assert fill_defaults(SCHEMA, filled) is filled
    for schema in (SCHEMA, UNTYPED, schema_of(POD), schema_of(HTTP_ROUTE)):
        for cause in validate(schema, value):
            assert cause.message
    assert validate(UNTYPED, value) == []


def test_schema_reads_what_any_tool_writes():
    """Keywords that we do not know are no reason to refuse somebody's CRD."""
    schema = Schema.of(
        {"type": "object", "title": "x", "x-kubernetes-validations": [{"rule": "true"}], "example": 1}
    )
    assert schema.type == "object"
    assert json.loads(STRUCTURE.read_bytes())["version"].startswith("v1.")
