"""Which of two services of one host is told that the other had it first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelport.control.made import precedence
from modelport.local.gateway.order import Entry
from modelport.local.gateway.order import precedence as of_gateway
from modelport.wire.table import Match, Rule

NAMES = st.sampled_from(("a", "a-b", "a-b-c", "b", "b-a"))
ROUTES = st.lists(
    st.tuples(st.sampled_from(("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z")), NAMES, NAMES),
    unique_by=lambda one: one[1:],
)


@given(ROUTES)
def test_the_service_that_is_told_is_the_one_that_gets_no_requests(routes):
    """Else both are told, or neither: the gateway decides between routes of the same second, too."""
    items = [
        {"metadata": {"creationTimestamp": created, "namespace": where, "name": name}}
        for created, where, name in routes
    ]
    entries = [
        Entry(f"{where}/{name}", "", created, ("x.example.com",), 0, 0, Match(), Rule(matches=[]))
        for created, where, name in routes
    ]
    ours = [
        f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in sorted(items, key=precedence)
    ]
    assert ours == [entry.name for entry in sorted(entries, key=of_gateway)]
