"""What is said of routes, Gateways and GatewayClasses, as Gateway API words it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from modelport.kube.condition import set_condition
from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object
from modelport.local.gateway.attach import PROTOCOLS, SUPPORTED
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
    spec: GatewaySpec,
    broken: str | None,
    attached: Mapping[str, set[str]],
    programmed: Verdict,
    address: str,
    now: datetime,
) -> Object:
    """`status` of a Gateway; `attached`: the routes that each listener has."""
    old = mapping(gateway.get("status"))
    if broken is not None:
        invalid = [
            Verdict(kind, good=False, reason="Invalid", message=broken) for kind in ("Accepted", "Programmed")
        ]
        return old | {"conditions": _conditions(gateway, objects(old.get("conditions")), invalid, now)}
    known = {one.get("name"): objects(one.get("conditions")) for one in objects(old.get("listeners"))}
    listeners: list[Object] = []
    for listener in spec.listeners:
        supported = listener.protocol in PROTOCOLS
        verdicts = _listener(listener, programmed)
        listeners.append(
            {
                "name": listener.name,
                "attachedRoutes": len(attached.get(listener.name, ())),
                "supportedKinds": [SUPPORTED] if supported else [],
                "conditions": _conditions(gateway, known.get(listener.name, []), verdicts, now),
            }
        )
    good = any(listener.protocol in PROTOCOLS for listener in spec.listeners)
    accepted = Verdict(
        "Accepted",
        good=good,
        reason="Accepted" if good else "ListenersNotValid",
        message="This platform's gateway serves it."
        if good
        else "spec.listeners: none has protocol HTTP or HTTPS, which is all that the gateway serves.",
    )
    return old | {
        "addresses": [
            {"type": "IPAddress" if address[:1].isdigit() or ":" in address else "Hostname", "value": address}
        ],
        "conditions": _conditions(gateway, objects(old.get("conditions")), [accepted, programmed], now),
        "listeners": listeners,
    }


def _listener(listener: Listener, programmed: Verdict) -> list[Verdict]:
    protocol = listener.protocol
    resolved = Verdict(
        "ResolvedRefs", good=True, reason="ResolvedRefs", message="It refers to nothing that is missing."
    )
    if listener.tls and listener.tls.get("certificateRefs"):
        # The reason that Gateway API has for references which a gateway doesn't support.
        words = (
            "tls.certificateRefs is not carried out: the gateway has one certificate, that of "
            "modelport up --tls-certificate."
        )
        resolved = Verdict("ResolvedRefs", good=False, reason="InvalidCertificateRef", message=words)
    if protocol not in PROTOCOLS:
        words = f'protocol: must be HTTP or HTTPS for this gateway, got "{protocol}".'
        return [
            Verdict("Accepted", good=False, reason="UnsupportedProtocol", message=words),
            Verdict("Programmed", good=False, reason="Invalid", message=words),
        ]
    return [
        Verdict("Accepted", good=True, reason="Accepted", message="The listener is served."),
        Verdict("Conflicted", good=False, reason="NoConflicts", message="No other listener wants the same."),
        resolved,
        programmed,
    ]


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
