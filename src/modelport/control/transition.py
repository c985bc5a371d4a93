"""What a change of a service's status is worth telling. Pure."""

from __future__ import annotations

from modelport.control.status import FETCHED, LATEST
from modelport.kube.condition import find_condition
from modelport.kube.resource import Object


def transitions(before: Object, after: Object, name: str) -> list[tuple[str, str, str]]:
    """The events that a change of status is worth: type, reason, message."""
    found: list[tuple[str, str, str]] = []
    was, now = (find_condition(one.get("conditions"), "Ready") or {} for one in (before, after))
    if now.get("status") == "True" and was.get("status") != "True":
        found.append(("Normal", "InferenceServiceReady", f"InferenceService [{name}] is Ready"))
    if was.get("status") == "True" and now.get("status") == "False":
        words = now.get("message") or now.get("reason") or ""
        text = f"InferenceService [{name}] is no longer Ready because of: {words}"
        found.append(("Warning", "InferenceServiceNotReady", text))
    was, now = (find_condition(one.get("conditions"), LATEST) or {} for one in (before, after))
    if now.get("status") == "False" and now.get("message") != was.get("message"):
        found.append(("Warning", now.get("reason") or "ModelLoadFailed", now.get("message") or ""))
    was, now = (find_condition(one.get("conditions"), FETCHED) or {} for one in (before, after))
    if now.get("status") == "True" and now.get("message") != was.get("message"):
        found.append(("Normal", FETCHED, now.get("message") or ""))
    was, now = (find_condition(one.get("conditions"), "FieldsIgnored") or {} for one in (before, after))
    if now.get("status") == "True" and now.get("message") != was.get("message"):
        found.append(("Warning", "FieldsIgnored", now.get("message") or ""))
    return found
