"""What is said of routes, Gateways and GatewayClasses, as Gateway API words it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from modelport.kube.condition import set_condition
from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object
from modelport.local.gateway.attach import PROTOCOLS, SUPPORTED, Told, unserved
from modelport.local.gateway.spec import CONTROLLER, GatewaySpec, Listener, Verdict
from modelport.local.gateway.translate import ParentVerdicts

PROGRAMMED = Verdict("Programmed", good=True, reason="Programmed", message="The gateway goes by it.")


def pending(why: str) -> Verdict:
    """Not yet, or not any more, in force."""
    return Verdict(
        "Programmed", good=False, reason="Pending", message=f"The gateway does not go by it yet: {why}."
    )


def route_status(route: Object, said: Sequence[ParentVerdicts], programmed: Verdict, now: datetime) -> Object:
    """`status` of an HTTPRoute: our entries anew, those of other controllers as they are."""
    before = objects(mapping(route.get("status")).get("parents"))
    ours = {_key(one["parentRef"]): one for one in before if one.get("controllerName") == CONTROLLER}
    parents = [one for one in before if one.get("controllerName") != CONTROLLER]
    for one in said:
        accepted = any(verdict.type == "Accepted" and verdict.good for verdict in one.verdicts)
        verdicts = [*one.verdicts, programmed] if accepted else one.verdicts
        known = objects(ours.get(_key(one.parent), {}).get("conditions"))
        conditions = _conditions(route, known, verdicts, now)
        parents.append({"parentRef": one.parent, "controllerName": CONTROLLER, "conditions": conditions})
    return mapping(route.get("status")) | {"parents": parents}


def is_news(route: Object, status: Object) -> bool:
    """Whether a route's status differs, and there is anything to say or to take back."""
    known = mapping(route.get("status"))
    return status != known and bool(status["parents"] or known.get("parents"))


def gateway_status(
    gateway: Object,
    told: Told,
    programmed: Verdict,
    address: str,
    now: datetime,
) -> Object:
    """`status` of a Gateway of ours."""
    old = mapping(gateway.get("status"))
    spec = told.spec or GatewaySpec(gateway_class_name="")
    if told.broken is not None:
        invalid = [
            Verdict(kind, good=False, reason="Invalid", message=told.broken)
            for kind in ("Accepted", "Programmed")
        ]
        return old | {"conditions": _conditions(gateway, objects(old.get("conditions")), invalid, now)}
    known = {one.get("name"): objects(one.get("conditions")) for one in objects(old.get("listeners"))}
    listeners: list[Object] = []
    for listener in spec.listeners:
        verdicts = _listener(listener, spec, told.said.get(listener.name, []), programmed)
        listeners.append(
            {
                "name": listener.name,
                "attachedRoutes": len(told.attached.get(listener.name, ())),
                "supportedKinds": [SUPPORTED] if listener.protocol in PROTOCOLS else [],
                "conditions": _conditions(gateway, known.get(listener.name, []), verdicts, now),
            }
        )
    good = any(unserved(listener, spec) is None for listener in spec.listeners)
    accepted = Verdict(
        "Accepted",
        good=good,
        reason="Accepted" if good else "ListenersNotValid",
        message="This platform's gateway serves it."
        if good
        else "spec.listeners: none can be served; each one's conditions say why.",
    )
    return old | {
        "addresses": [
            {"type": "IPAddress" if address[:1].isdigit() or ":" in address else "Hostname", "value": address}
        ],
        "conditions": _conditions(gateway, objects(old.get("conditions")), [accepted, programmed], now),
        "listeners": listeners,
    }


def _listener(
    listener: Listener, spec: GatewaySpec, said: Sequence[Verdict], programmed: Verdict
) -> list[Verdict]:
    refused = unserved(listener, spec)
    if refused is not None:
        reason, words = refused
        return [
            Verdict("Accepted", good=False, reason=reason, message=words),
            Verdict("Programmed", good=False, reason="Invalid", message=words),
        ]
    found = [
        Verdict("Accepted", good=True, reason="Accepted", message="The listener is served."),
        Verdict("Conflicted", good=False, reason="NoConflicts", message="No other listener wants the same."),
        Verdict(
            "ResolvedRefs", good=True, reason="ResolvedRefs", message="It refers to nothing that is missing."
        ),
        programmed,
    ]
    own = {one.type: one for one in said}
    return [own.get(one.type, one) for one in found]


def class_status(gateway_class: Object, now: datetime) -> Object:
    """`status` of a GatewayClass."""
    old = mapping(gateway_class.get("status"))
    words = "This platform's gateway carries out Gateways of this class."
    accepted = Verdict("Accepted", good=True, reason="Accepted", message=words)
    return old | {"conditions": _conditions(gateway_class, objects(old.get("conditions")), [accepted], now)}


def _conditions(
    item: Object, known: list[Object], verdicts: Sequence[Verdict], now: datetime
) -> list[Object]:
    types = {verdict.type for verdict in verdicts}
    conditions = [one for one in known if one.get("type") in types]
    generation = item["metadata"].get("generation")
    for one in verdicts:
        state = "True" if one.good else "False"
        conditions = set_condition(conditions, one.type, state, one.reason, one.message, now, generation)
    return conditions


def _key(parent: Object) -> bytes:
    return msgspec.json.encode(parent, order="deterministic")
