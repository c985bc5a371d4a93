"""`Status` errors: kubectl prints their messages, clients read their codes, reasons and causes."""

import pytest

from modelport.kube.errors import (
    ApiError,
    Cause,
    already_exists,
    bad_request,
    conflict,
    duplicate,
    forbidden,
    gone,
    invalid,
    invalid_value,
    not_found,
    not_supported,
    required,
    too_long,
    too_many,
    wrong_type,
)
from modelport.kube.resource import DEPLOYMENT, NAMESPACE, POD


@pytest.mark.parametrize(
    ("error", "code", "reason", "message"),
    [
        (not_found(DEPLOYMENT, "web"), 404, "NotFound", 'deployments.apps "web" not found'),
        (already_exists(POD, "web"), 409, "AlreadyExists", 'pods "web" already exists'),
        (
            conflict(POD, "web"),
            409,
            "Conflict",
            (
                'Operation cannot be fulfilled on pods "web": the object has been modified; please apply your changes '
                "to the latest version and try again"
            ),
        ),
        (bad_request("no"), 400, "BadRequest", "no"),
        (gone("too old"), 410, "Expired", "too old"),
        (
            invalid(DEPLOYMENT, "web", [required("spec.selector")]),
            422,
            "Invalid",
            'Deployment.apps "web" is invalid: spec.selector: Required value',
        ),
        (
            invalid(POD, "web", [required("a", "say it"), Cause("", "FieldValueInvalid", "b")]),
            422,
            "Invalid",
            'Pod "web" is invalid: [a: Required value: say it, b]',
        ),
    ],
)
def test_error_reads_as_kubernetes_own(error, code, reason, message):
    assert str(error) == message
    status = error.to_status()
    assert (status["kind"], status["status"]) == ("Status", "Failure")
    assert (status["code"], status["reason"], status["message"]) == (code, reason, message)


@pytest.mark.parametrize(
    ("cause", "reason", "message"),
    [
        (required("f"), "FieldValueRequired", "Required value"),
        (invalid_value("f", "x", "why"), "FieldValueInvalid", 'Invalid value: "x": why'),
        (invalid_value("f", None, "why"), "FieldValueInvalid", "Invalid value: null: why"),
        (wrong_type("f", {"a": 1}, "why"), "FieldValueTypeInvalid", 'Invalid value: {"a":1}: why'),
        (
            not_supported("f", "c", ["a", "b"]),
            "FieldValueNotSupported",
            'Unsupported value: "c": supported values: "a", "b"',
        ),
        (forbidden("f", "immutable"), "FieldValueForbidden", "Forbidden: immutable"),
        (duplicate("f", "x"), "FieldValueDuplicate", 'Duplicate value: "x"'),
        (too_long("f", 5), "FieldValueTooLong", "Too long: may not be more than 5 bytes"),
        (too_many("f", 3, 2), "FieldValueTooMany", "Too many: 3: must have at most 2 items"),
    ],
)
def test_cause_reads_as_kubernetes_own(cause, reason, message):
    assert (cause.field, cause.reason, cause.message) == ("f", reason, message)


def test_error_survives_the_wire():
    """What our API server raises is what our client raises."""
    error = invalid(POD, "web", [required("a"), forbidden("b", "no")])
    back = ApiError.from_status(error.to_status(), 500)
    assert back.to_status() == error.to_status()
    assert [cause["field"] for cause in back.details["causes"]] == ["a", "b"]
    busy = ApiError(429, "TooManyRequests", "wait", retry_after_s=4)
    assert ApiError.from_status(busy.to_status(), 429).retry_after_s == 4


@pytest.mark.parametrize("body", [None, "text", [], {}, {"message": "m", "code": None, "details": None}])
def test_any_body_makes_an_error(body):
    """Proxies answer with anything."""
    error = ApiError.from_status(body, 503)
    assert error.code == 503
    assert str(error)


def test_addresses():
    """kubectl and every other client build the same ones."""
    assert POD.path() == "/api/v1/pods"
    assert POD.path("a", "b", "status") == "/api/v1/namespaces/a/pods/b/status"
    assert DEPLOYMENT.path("a") == "/apis/apps/v1/namespaces/a/deployments"
    assert NAMESPACE.path("ignored", "a") == "/api/v1/namespaces/a"
    assert DEPLOYMENT.api_version == "apps/v1"
    assert POD.qualified == "pods"
