"""Kubernetes' `Status`: the one shape in which an API server says that something went wrong.

raise not_found(POD, "web-1")
raise invalid(INFERENCE_SERVICE, "iris", [required("spec.predictor", "name a model")])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from modelport.kube.resource import Object, Resource


class Cause(msgspec.Struct, frozen=True):
    """One thing that is wrong with an object."""

    field: str
    """Path of the field, as in `spec.predictor.minReplicas`."""
    reason: str
    """Kubernetes' word: FieldValueInvalid, FieldValueRequired, FieldValueNotSupported, FieldValueForbidden, …"""
    message: str


def _shown(value: Any) -> str:
    """A value as Kubernetes quotes it in messages."""
    if value is None:
        return "null"
    return msgspec.json.encode(value).decode()


def required(field: str, detail: str = "") -> Cause:
    """A field that is missing."""
    return Cause(field, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")


def invalid_value(field: str, value: Any, detail: str) -> Cause:
    """A field whose value breaks a rule."""
    return Cause(field, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {detail}")


def wrong_type(field: str, value: Any, detail: str) -> Cause:
    """A field whose value is of another type than the schema's."""
    return Cause(field, "FieldValueTypeInvalid", f"Invalid value: {_shown(value)}: {detail}")


def not_supported(field: str, value: Any, supported: Iterable[Any]) -> Cause:
    """A field whose value is none of those listed."""
    listed = ", ".join(_shown(item) for item in supported)
    return Cause(
        field,
        "FieldValueNotSupported",
        f"Unsupported value: {_shown(value)}: supported values: {listed}",
    )


def forbidden(field: str, detail: str) -> Cause:
    """A field that must not be set, or not be changed."""
    return Cause(field, "FieldValueForbidden", f"Forbidden: {detail}")


def duplicate(field: str, value: Any) -> Cause:
    """A list's item that is there twice."""
    return Cause(field, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}")


def too_long(field: str, limit_bytes: int) -> Cause:
    """A field whose value takes more bytes than allowed."""
    return Cause(field, "FieldValueTooLong", f"Too long: may not be more than {limit_bytes} bytes")


def too_many(field: str, got: int, limit: int) -> Cause:
    """A list with more items than allowed."""
    return Cause(field, "FieldValueTooMany", f"Too many: {got}: must have at most {limit} items")


class ApiError(Exception):
    """A `Status` with status Failure: what an API server answers, and what the client raises."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Object | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details: Object = details or {}
        self.retry_after_s = retry_after_s
        """Seconds to wait before trying again; also the answer's Retry-After."""

    def to_status(self) -> Object:
        """The `Status` object."""
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        details = self.details
        if self.retry_after_s is not None:
            details = details | {"retryAfterSeconds": self.retry_after_s}
        if details:
            status["details"] = details
        return status

    @classmethod
    def from_status(cls, status: Any, code: int) -> ApiError:
        """From an answer's body, which is a `Status` or, from a proxy, anything."""
        body: Object = cast("Object", status) if isinstance(status, dict) else {}
        if "message" in body:
            details = cast("Object", body.get("details") or {})
            wait_s: Any = details.get("retryAfterSeconds")
            return cls(
                int(body.get("code") or code),
                str(body.get("reason") or ""),
                str(body["message"]),
                details=details,
                retry_after_s=wait_s if isinstance(wait_s, int) else None,
            )
        return cls(code, "", f"the API server answered {code}: {str(cast('object', status))[:500]}")


def _details(resource: Resource, name: str) -> Object:
    return {"name": name, "group": resource.group, "kind": resource.plural}


def not_found(resource: Resource, name: str) -> ApiError:
    """404."""
    return ApiError(
        404, "NotFound", f'{resource.qualified} "{name}" not found', details=_details(resource, name)
    )


def already_exists(resource: Resource, name: str) -> ApiError:
    """409: the name is taken."""
    return ApiError(
        409,
        "AlreadyExists",
        f'{resource.qualified} "{name}" already exists',
        details=_details(resource, name),
    )


def conflict(resource: Resource, name: str, why: str = "") -> ApiError:
    """409: somebody else was faster."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    return ApiError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}',
        details=_details(resource, name),
    )


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: the object breaks rules; all of them are named."""
    listed = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    text = listed[0] if len(listed) == 1 else "[" + ", ".join(listed) + "]"
    return ApiError(
        422,
        "Invalid",
        f'{resource.kind}.{resource.group} "{name}" is invalid: {text}'
        if resource.group
        else f'{resource.kind} "{name}" is invalid: {text}',
        details=_details(resource, name)
        | {"causes": [{"field": c.field, "reason": c.reason, "message": c.message} for c in causes]},
    )


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def gone(message: str) -> ApiError:
    """410: the resourceVersion asked for is compacted; list again."""
    return ApiError(410, "Expired", message)
