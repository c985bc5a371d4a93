"""Names, owners, times and the rules of metadata, in Kubernetes' words."""

from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelport.kube.meta import (
    controller_of,
    is_controlled_by,
    micro_timestamp,
    owner_reference,
    owners_of,
    parse_time,
    timestamp,
    validate_meta,
)
from modelport.kube.name import (
    check_config_key,
    check_label,
    check_label_1035,
    check_label_value,
    check_qualified,
    check_subdomain,
    generated_name,
)

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "uid": "u-1"}}


def test_child_names_its_owner():
    """Without it nothing is garbage-collected after `kubectl delete isvc`."""
    reference = owner_reference(OWNER)
    assert reference == {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "web",
        "uid": "u-1",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    child = {"metadata": {"ownerReferences": [owner_reference(OWNER, controller=False), reference]}}
    assert controller_of(child) == reference
    assert len(owners_of(child)) == 2
    assert is_controlled_by(child, OWNER)


def test_namesake_of_the_owner_is_not_the_owner():
    """A ReplicaSet deleted and made again must not take the old one's pods for its own."""
    child = {"metadata": {"ownerReferences": [owner_reference(OWNER)]}}
    assert not is_controlled_by(child, {**OWNER, "metadata": {"name": "web", "uid": "u-2"}})
    assert controller_of({"metadata": {}}) is None
    assert (
        controller_of({"metadata": {"ownerReferences": [owner_reference(OWNER, controller=False)]}}) is None
    )


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (
            check_label,
            ["a", "my-name", "123-abc", "a" * 63],
            ["", "A", "-a", "a-", "a.b", "a" * 64, "a_b", "a\n"],
        ),
        (check_label_1035, ["a", "my-name"], ["", "1a", "a-", "A", "a" * 64]),
        (
            check_subdomain,
            ["a", "a.b", "example.com", "1.2"],
            ["", "A", ".a", "a.", "a..b", "a_b", "a" * 254],
        ),
        (
            check_qualified,
            ["a", "A.b_c-d", "example.com/MyName", "a" * 63],
            ["", "/a", "a/", "a/b/c", "Example.com/a", "-a", "a" * 64, "a b"],
        ),
        (check_label_value, ["", "a", "MyValue", "my_value", "12345"], ["-a", "a b", "a" * 64, "é", "a/b"]),
        (check_config_key, ["a", "key.name", "KEY_NAME", ".a"], ["", ".", "..", "..a", "a/b", "a" * 254]),
    ],
)
def test_names_that_kubernetes_takes_and_refuses(check, good, bad):
    assert [name for name in good if check(name)] == []
    assert [name for name in bad if not check(name)] == []


def test_refused_names_are_told_in_kubernetes_words():
    assert check_subdomain("Bad") == [
        (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
    ]
    assert check_label("a.b") == ["must not contain dots"]
    assert check_label("a" * 64) == ["must be no more than 63 characters"]
    assert check_qualified("/a") == ["prefix part must be non-empty"]


def test_generated_names_fit_and_are_valid():
    """Pods of a ReplicaSet with a long name must still get names."""
    random = Random(7)
    names = {generated_name("web-", random) for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("web-") and len(name) == 9 and not check_label(name) for name in names)
    assert len(generated_name("a" * 300, random)) == 63


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-01-31T09:00:00Z", datetime(2025, 1, 31, 9, tzinfo=UTC)),
        ("2025-01-31T09:00:00.5Z", datetime(2025, 1, 31, 9, 0, 0, 500_000, UTC)),
        ("2025-01-31T09:00:00.123456789+01:00", datetime(2025, 1, 31, 8, 0, 0, 123_456, UTC)),
        ("2025-01-31t09:00:00z", datetime(2025, 1, 31, 9, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_read(text, moment):
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2025-01-31",
        "2025-01-31T09:00:00",
        "2025-02-30T09:00:00Z",
        "2025-01-31T25:00:00Z",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_what_is_no_time_is_told(text):
    with pytest.raises(ValueError, match="must be a time as in"):
        parse_time(text)


@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(timezone(timedelta(hours=-3)))))
def test_times_survive_writing_and_reading(moment):
    assert parse_time(micro_timestamp(moment)) == moment
    assert parse_time(timestamp(moment)) == moment.replace(microsecond=0)


def messages(meta, **how):
    return [
        (cause.field, cause.reason, cause.message)
        for cause in validate_meta(meta, **({"namespaced": True} | how))
    ]


def test_good_metadata_has_no_problem():
    meta = {
        "name": "web-1",
        "namespace": "default",
        "labels": {"app.kubernetes.io/name": "web"},
        "annotations": {"Example.COM/Any": "any: thing", "a": "é" * 1000},
        "finalizers": ["foregroundDeletion", "modelport.io/pods"],
        "ownerReferences": [owner_reference(OWNER)],
    }
    assert messages(meta) == []
    assert messages({"generateName": "web-", "namespace": "default"}) == []


def test_every_problem_of_metadata_is_named():
    two = [owner_reference(OWNER), owner_reference(OWNER | {"kind": "Deployment"})]
    meta = {
        "name": "Web",
        "namespace": "a.b",
        "labels": {"bad key": "bad value"},
        "annotations": {"/": ""},
        "finalizers": ["mine"],
        "ownerReferences": [*two, {"kind": "Pod"}],
    }
    found = messages(meta)
    assert {(field, reason) for field, reason, _ in found} == {
        ("metadata.name", "FieldValueInvalid"),
        ("metadata.namespace", "FieldValueInvalid"),
        ("metadata.labels", "FieldValueInvalid"),
        ("metadata.annotations", "FieldValueInvalid"),
        ("metadata.finalizers[0]", "FieldValueInvalid"),
        ("metadata.ownerReferences", "FieldValueInvalid"),
        ("metadata.ownerReferences[2].apiVersion", "FieldValueRequired"),
        ("metadata.ownerReferences[2].name", "FieldValueRequired"),
        ("metadata.ownerReferences[2].uid", "FieldValueRequired"),
    }
    assert any("Only one reference can have Controller set to true" in words for _, _, words in found)


@pytest.mark.parametrize(
    ("meta", "how", "expected"),
    [
        (
            {"namespace": "default"},
            {},
            ("metadata.name", "FieldValueRequired", "Required value: name or generateName is required"),
        ),
        ({"name": "a"}, {}, ("metadata.namespace", "FieldValueRequired", "Required value")),
        (
            {"name": "a", "namespace": "b"},
            {"namespaced": False},
            ("metadata.namespace", "FieldValueForbidden", "Forbidden: not allowed on this type"),
        ),
        (
            {"name": "a.b"},
            {"namespaced": False, "check_name": check_label},
            ("metadata.name", "FieldValueInvalid", 'Invalid value: "a.b": must not contain dots'),
        ),
        (
            {"name": "a", "namespace": "b", "annotations": {"a": "x" * (256 * 1024)}},
            {},
            ("metadata.annotations", "FieldValueTooLong", "Too long: may not be more than 262144 bytes"),
        ),
    ],
)
def test_problem_of_metadata_in_kubernetes_words(meta, how, expected):
    assert messages(meta, **how) == [expected]


def test_annotations_may_be_exactly_as_large_as_allowed():
    assert messages({"name": "a", "namespace": "b", "annotations": {"a": "x" * (256 * 1024 - 1)}}) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["name", "generateName", "namespace", "labels", "annotations", "ownerReferences", "finalizers"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_metadata_gets_causes(meta):
    """Labels sent as a list must be refused, not crash the server."""
    for namespaced in (True, False):
        assert all(cause.message for cause in validate_meta(meta, namespaced=namespaced))
