"""Conditions: what `kubectl wait` and people look at."""

from datetime import UTC, datetime

from modelport.kube.condition import find_condition, is_true, remove_condition, set_condition

THEN, NOW = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)


def test_transition_time_stays_while_the_status_does():
    """Else "Ready for 3 days" would begin again with every new message."""
    first = set_condition(None, "Ready", "False", "Starting", "no pod yet", THEN)
    second = set_condition(first, "Ready", "False", "Loading", "the model is loading", NOW, 2)
    assert second == [
        {
            "type": "Ready",
            "status": "False",
            "reason": "Loading",
            "message": "the model is loading",
            "lastTransitionTime": "2025-01-01T00:00:00Z",
            "observedGeneration": 2,
        }
    ]
    third = set_condition(second, "Ready", "True", "", "", NOW)
    assert third[0]["lastTransitionTime"] == "2025-01-02T00:00:00Z"
    assert "reason" not in third[0]
    assert "message" not in third[0]


def test_given_list_is_not_changed():
    """Conditions come from caches that others read."""
    conditions = [{"type": "A", "status": "True"}, {"type": "B", "status": "True", "lastProbeTime": "x"}]
    before = [dict(item) for item in conditions]
    changed = set_condition(conditions, "B", "False", "R", "m", NOW)
    assert conditions == before
    assert [item["type"] for item in changed] == ["A", "B"]
    assert changed[1]["lastProbeTime"] == "x"
    assert remove_condition(changed, "A") == changed[1:]


def test_severity_is_kept_only_as_long_as_it_is_said():
    marked = set_condition([], "Ready", "False", "R", "m", NOW, severity="Info")
    assert marked[0]["severity"] == "Info"
    assert "severity" not in set_condition(marked, "Ready", "False", "R", "m", NOW)[0]


def test_finding():
    item = {
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "Unknown"}]}
    }
    assert is_true(item, "Ready")
    assert not is_true(item, "X")
    assert not is_true(item, "Absent")
    assert not is_true({}, "Ready")
    assert find_condition(None, "Ready") is None
