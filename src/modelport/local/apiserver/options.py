"""What a writer asks for beside the object: the query parameters of writes, and DeleteOptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from modelport.kube.errors import ApiError, bad_request
from modelport.local.apiserver.duplicate import NOTHING, Written

FieldValidation = Literal["Ignore", "Warn", "Strict"]
Propagation = Literal["Background", "Foreground", "Orphan"]
MANAGER_LIMIT = 128


class WriteOptions(msgspec.Struct, kw_only=True):
    """How an object is to be written."""

    dry_run: bool = False
    """Everything but the writing."""
    field_manager: str = ""
    """Who owns the fields that this write sets."""
    named_manager: bool = False
    """Whether the writer said so itself."""
    field_validation: FieldValidation = "Warn"
    """What happens to unknown fields, and to those that are there twice."""
    written: Written = NOTHING
    """Fields that the body has twice."""
    force: bool = False
    """For apply: take fields over from other managers."""
    warnings: list[str] = msgspec.field(default_factory=list[str])
    """What the writer should hear, as `Warning` headers."""


class DeleteOptions(msgspec.Struct, kw_only=True):
    """How an object is to be deleted."""

    dry_run: bool = False
    grace_s: int | None = None
    propagation: Propagation | None = None
    uid: str | None = None
    """Only that very object."""
    version: str | None = None
    """Only in this version."""
    warnings: list[str] = msgspec.field(default_factory=list[str])


def truth(query: Mapping[str, str], name: str) -> bool:
    """A boolean parameter. ApiError 400."""
    text = query.get(name, "")
    if text.lower() in ("", "false", "0", "f"):
        return False
    if text.lower() in ("true", "1", "t"):
        return True
    raise bad_request(f"query parameter {name}: must be true or false, got {text!r}")


def number(query: Mapping[str, str], name: str) -> int | None:
    """A parameter that is a count. ApiError 400."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        value = int(text)
    except ValueError:
        raise bad_request(f"query parameter {name}: must be a whole number, got {text!r}") from None
    if value < 0:
        raise bad_request(f"query parameter {name}: must not be negative, got {value}")
    return value


def write_options(query: Mapping[str, str], user_agent: str) -> WriteOptions:
    """From a request's parameters. ApiError 400 and 422."""
    manager = query.get("fieldManager", "")
    if len(manager) > MANAGER_LIMIT or not manager.isprintable():
        raise bad_request(
            f"query parameter fieldManager: at most {MANAGER_LIMIT} printable characters, got {len(manager)}"
        )
    validation = query.get("fieldValidation", "") or "Warn"
    if validation not in ("Ignore", "Warn", "Strict"):
        raise bad_request(
            f"query parameter fieldValidation: must be Ignore, Warn or Strict, got {validation!r}"
        )
    return WriteOptions(
        dry_run=_dry_run(query.get("dryRun", "")),
        field_manager=manager or _program(user_agent),
        named_manager=bool(manager),
        field_validation=validation,
        force=truth(query, "force"),
    )


def delete_options(query: Mapping[str, str], body: Any) -> DeleteOptions:
    """From a request's body (DeleteOptions, or none) and parameters. ApiError 400."""
    if body is not None and not isinstance(body, dict):
        raise bad_request("the body of a deletion must be DeleteOptions, an object")
    given = cast("dict[str, Any]", body or {})
    if given.get("kind", "DeleteOptions") != "DeleteOptions":
        raise bad_request(f"the body of a deletion must be DeleteOptions, got {given['kind']!r}")
    grace = given.get("gracePeriodSeconds", number(query, "gracePeriodSeconds"))
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool) or grace < 0):
        raise bad_request(f"gracePeriodSeconds: must be a number of seconds, 0 or more, got {grace!r}")
    policy = given.get("propagationPolicy") or query.get("propagationPolicy") or None
    orphan = given.get("orphanDependents", query.get("orphanDependents"))
    if policy is None and orphan is not None:
        policy = "Orphan" if str(orphan).lower() == "true" else "Background"
    if policy not in (None, "Background", "Foreground", "Orphan"):
        raise bad_request(f"propagationPolicy: must be Background, Foreground or Orphan, got {policy!r}")
    found, dry = given.get("preconditions"), given.get("dryRun") or [query.get("dryRun", "")]
    if not isinstance(found, dict | None) or not isinstance(dry, list):
        raise bad_request("preconditions must be an object, dryRun a list")
    conditions = cast("dict[str, Any]", found or {})
    return DeleteOptions(
        dry_run=any(_dry_run(str(word)) for word in cast("list[Any]", dry)),
        grace_s=grace,
        propagation=policy,
        uid=conditions.get("uid") or None,
        version=conditions.get("resourceVersion") or None,
    )


def _dry_run(text: str) -> bool:
    if text not in ("", "All"):
        raise ApiError(
            422,
            "Invalid",
            f'dryRun: Unsupported value: "{text}": supported values: "All"',
            details={
                "causes": [
                    {
                        "reason": "FieldValueNotSupported",
                        "message": f'Unsupported value: "{text}": supported values: "All"',
                        "field": "dryRun",
                    }
                ]
            },
        )
    return text == "All"


def _program(user_agent: str) -> str:
    """Who owns what a nameless writer sets: the program, as `kubectl` from `kubectl/v1.34 (linux/amd64)`."""
    name = user_agent.split("/")[0][:MANAGER_LIMIT]
    return name if name.isprintable() and name else "unknown"
