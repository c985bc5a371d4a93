"""How requests are treated on their way: timeouts, retries, sticky clients, rate limits, outliers. Pure.

What Gateway API has a field for is said there. The rest are annotations, of the HTTPRoute:

    serving.modelport.io/rate-limit: 100/s                 so many requests a second (s), minute (m) or hour (h)
    serving.modelport.io/rate-limit: 100/m burst=20 by=header:x-tenant      by=client, by=caller, by=header:NAME
    serving.modelport.io/hash-header: x-user               who sends the same value gets the same backend
    serving.modelport.io/retry: "false"                    nothing is sent twice

and of the Service:

    serving.modelport.io/outliers: "off"                   or: failures=5 eject=10s
"""

from __future__ import annotations

import re

from modelport.kube.resource import Object
from modelport.local.gateway.duration import read_ms
from modelport.local.gateway.spec import Retry, RouteRule, SessionPersistence, Timeouts
from modelport.wire.table import Again, Outlier, RateLimit, Rule, Sticky

PREFIX = "serving.modelport.io/"
RETRY = PREFIX + "retry"
RATE_LIMIT = PREFIX + "rate-limit"
HASH_HEADER = PREFIX + "hash-header"
OUTLIERS = PREFIX + "outliers"
_RATE = re.compile(r"(?P<requests>\d+)/(?P<unit>[smh])(?P<rest>( +\S+)*)")
_PER_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MOST = 1_000_000
_RETRIED = (502, 503, 504)
"""Where a rule wants retries and names no codes."""
_COOKIE = "modelport-session"


def apply(rule: Rule, wanted: RouteRule, annotations: Object, where: str) -> list[str]:
    """Writes them into the rule; what is wrong with them."""
    problems: list[str] = []
    timeouts = wanted.timeouts or Timeouts()
    # None is no limit, and so is 0s (GEP-2257).
    rule.timeout_ms = read_ms(timeouts.request, f"{where}.timeouts.request", problems) or None
    attempt_ms = read_ms(timeouts.backend_request, f"{where}.timeouts.backendRequest", problems)
    rule.backend_timeout_ms = attempt_ms or None
    if rule.timeout_ms and attempt_ms and attempt_ms > rule.timeout_ms:
        problems.append(
            f"{where}.timeouts.backendRequest: must not be longer than request, got "
            f"{timeouts.backend_request} and {timeouts.request}."
        )
    rule.retry = annotations.get(RETRY) != "false"
    if wanted.retry is not None:
        _retry(rule, wanted.retry, f"{where}.retry", problems)
    header = annotations.get(HASH_HEADER)
    if header is not None:
        if not _TOKEN.fullmatch(header):
            problems.append(f'annotation {HASH_HEADER}: must be a header\'s name, got "{header}".')
        else:
            rule.sticky = Sticky(by="hash", name=header.lower())
    if wanted.session_persistence is not None:
        # It says more than the annotation: the endpoint, not only the backend.
        rule.sticky = _sticky(wanted.session_persistence, f"{where}.sessionPersistence", problems)
    return problems


def _retry(rule: Rule, wanted: Retry, where: str, problems: list[str]) -> None:
    if wanted.attempts == 0:
        rule.retry = False
        return
    backoff_ms = read_ms(wanted.backoff, f"{where}.backoff", problems)
    rule.again = Again(
        codes=sorted(set(wanted.codes or _RETRIED)), attempts=wanted.attempts or 1, backoff_ms=backoff_ms or 0
    )


def _sticky(wanted: SessionPersistence, where: str, problems: list[str]) -> Sticky | None:
    kind = wanted.type or "Cookie"
    name = wanted.session_name or _COOKIE
    lifetime = (wanted.cookie_config.lifetime_type if wanted.cookie_config else None) or "Session"
    before = len(problems)
    if kind not in ("Cookie", "Header"):
        problems.append(f'{where}.type: must be Cookie or Header, got "{kind}".')
    if not _TOKEN.fullmatch(name):
        problems.append(f'{where}.sessionName: must be a name for a cookie or header, got "{name}".')
    if lifetime not in ("Session", "Permanent"):
        problems.append(f'{where}.cookieConfig.lifetimeType: must be Session or Permanent, got "{lifetime}".')
    if wanted.idle_timeout is not None:
        problems.append(f"{where}.idleTimeout: the gateway keeps no sessions, so none is idle. Leave it out.")
    age_ms = read_ms(wanted.absolute_timeout, f"{where}.absoluteTimeout", problems)
    if lifetime == "Permanent" and age_ms is None and len(problems) == before:
        problems.append(f"{where}.absoluteTimeout: must be given for a Permanent cookie.")
    if len(problems) > before:
        return None
    max_age_s = age_ms // 1000 if age_ms is not None and lifetime == "Permanent" else None
    return Sticky(by="cookie" if kind == "Cookie" else "header", name=name, max_age_s=max_age_s)


def rate_limit(annotations: Object) -> tuple[RateLimit | None, list[str]]:
    """What a route takes, and what is wrong with the annotation."""
    text = annotations.get(RATE_LIMIT)
    if text is None:
        return None, []
    found = _RATE.fullmatch(text.strip())
    shape = '"100/s" or "100/m burst=20 by=client" (by=caller, by=header:x-tenant)'
    wrong = [f'annotation {RATE_LIMIT}: must be like {shape}, got "{text}".']
    if found is None or not 0 < int(found["requests"]) <= _MOST:
        return None, wrong
    requests = int(found["requests"])
    limit = RateLimit(requests=requests, per_ms=_PER_MS[found["unit"]], burst=requests)
    for word in found["rest"].split():
        match word.partition("="):
            case ("burst", "=", number) if number.isdecimal() and 0 < int(number) <= _MOST:
                limit.burst = int(number)
            case ("by", "=", ("client" | "caller" | "route") as by):
                limit.by = by
            case ("by", "=", key) if key.startswith("header:") and _TOKEN.fullmatch(key[7:]):
                limit.by, limit.header = "header", key[7:].lower()
            case _:
                return None, wrong
    return limit, []


def outlier(service: Object) -> tuple[Outlier | None, list[str]]:
    """When endpoints of a Service are left alone, and what is wrong with the annotation (which then does nothing)."""
    annotations: Object = service["metadata"].get("annotations") or {}
    text = annotations.get(OUTLIERS)
    if text is None:
        return Outlier(), []
    if text == "off":
        return None, []
    found, problems = Outlier(), list[str]()
    for word in text.split():
        match word.partition("="):
            case ("failures", "=", number) if number.isdecimal() and 0 < int(number) <= _MOST:
                found.failures = int(number)
            case ("eject", "=", time):
                found.eject_ms = read_ms(time, "eject", problems) or found.eject_ms
            case _:
                problems.append(word)
    if not problems:
        return found, []
    where = f"Service {service['metadata']['namespace']}/{service['metadata']['name']}"
    return Outlier(), [
        f'{where}, annotation {OUTLIERS}: must be off, or like "failures=5 eject=10s", got "{text}".'
    ]
