"""Selectors: `kubectl -l`, Services, ReplicaSets and `--field-selector` must mean the objects that users mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.kube.errors import ApiError
from modelport.kube.selector import (
    EVERYTHING,
    NOTHING,
    Requirement,
    Selector,
    from_labels,
    from_object,
    parse_fields,
    parse_labels,
)

WEB = {"app": "web", "tier": "front", "replicas": "3", "empty": ""}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("  ", True),
        ("app=web", True),
        ("app==web", True),
        ("app=api", False),
        ("app!=web", False),
        ("app!=api", True),
        ("absent!=web", True),
        ("app", True),
        ("absent", False),
        ("!absent", True),
        ("! app", False),
        ("app in (web, api)", True),
        ("app in (api)", False),
        ("absent in (api)", False),
        ("app notin (web)", False),
        ("absent notin (web)", True),
        ("app in (web),tier notin (back),!legacy", True),
        ("app=web,tier=back", False),
        ("replicas>2", True),
        ("replicas>3", False),
        ("replicas<4", True),
        ("app>1", False),
        ("empty=", True),
        ("empty", True),
        ("app=", False),
        ("empty in (,x)", True),
        ("in=x", False),
        ("notin notin (in)", True),
        ("app\tin\n(web)", True),
    ],
)
def test_label_selector_selects_as_kubernetes_does(text, selected):
    assert parse_labels(text).matches(WEB) is selected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("app=web,", "found '', expected: identifier after ','"),
        ("=web", "found '=', expected: !, identifier, or 'end of string'"),
        ("app web", "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, gt, lt"),
        ("app in web", "unable to parse requirement: found 'web' expected: '('"),
        ("app in (web", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("app in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("app===web", "unable to parse requirement: found '=', expected: identifier"),
        ("app=web api", "found 'api', expected: ',' or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (
            "app in ()",
            (
                "unable to parse requirement: values: Invalid value: []string{}: for 'in', 'notin' operators, "
                "values set can't be empty"
            ),
        ),
        (
            "app>many",
            (
                "unable to parse requirement: values[0]: Invalid value: \"many\": for 'Gt', 'Lt' operators, "
                "the value must be an integer"
            ),
        ),
        (
            "a/b/c=d",
            'unable to parse requirement: <nil>: Invalid value: "a/b/c": a qualified name must consist',
        ),
        ("-a=d", 'unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of'),
        (
            "app=-web",
            'unable to parse requirement: values[0][app]: Invalid value: "-web": a valid label must be an empty',
        ),
    ],
)
def test_wrong_label_selector_is_told_in_kubernetes_words(text, words):
    with pytest.raises(ApiError) as caught:
        parse_labels(text)
    assert caught.value.code == 400
    assert caught.value.reason == "BadRequest"
    assert caught.value.message.startswith(words)


def test_label_selector_object_of_a_deployment():
    selector = from_object(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front", "back"]},
                {"key": "legacy", "operator": "DoesNotExist"},
                {"key": "app", "operator": "Exists"},
                {"key": "app", "operator": "NotIn", "values": ["api"]},
            ],
        }
    )
    assert selector.matches(WEB)
    assert not selector.matches(WEB | {"legacy": ""})
    assert not selector.matches(WEB | {"tier": "data"})
    assert selector.exact() == {"app": "web"}


def test_absent_selector_selects_nothing_and_an_empty_one_everything():
    """A ReplicaSet without a selector must not adopt every pod of the namespace."""
    assert from_object(None) == NOTHING
    assert not from_object(None).matches(WEB)
    assert from_object({}).everything
    assert from_object({}).matches(None)
    assert from_labels({"app": "web"}).matches(WEB)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ({"key": "a", "operator": "Gt", "values": ["1"]}, '"Gt" is not a valid label selector operator'),
        ({"key": "a"}, '"" is not a valid label selector operator'),
        (
            {"key": "a", "operator": "Exists", "values": ["x"]},
            'values: Invalid value: []string{"x"}: values set must be empty for exists and does not exist',
        ),
        ({"key": "a", "operator": "In"}, "values: Invalid value: []string{}: for 'in', 'notin' operators"),
    ],
)
def test_wrong_label_selector_object_is_told(expression, words):
    with pytest.raises(ApiError) as caught:
        from_object({"matchExpressions": [expression]})
    assert caught.value.code == 400
    assert caught.value.message.startswith(words)


KEYS = st.from_regex(r"([a-z]{1,8}\.io/)?[a-z]([-a-z0-9_.]{0,6}[a-z0-9])?", fullmatch=True)
VALUES = st.from_regex(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,6}[A-Za-z0-9])?)?", fullmatch=True)


@st.composite
def requirements(draw):
    key = draw(KEYS)
    operator = draw(st.sampled_from(["in", "notin", "=", "==", "!=", "exists", "!", "gt", "lt"]))
    if operator in ("in", "notin"):
        values = draw(st.sets(VALUES, min_size=1, max_size=3))
    elif operator in ("gt", "lt"):
        values = {str(draw(st.integers(0, 99)))}
    else:
        values = set() if operator in ("exists", "!") else {draw(VALUES)}
    return Requirement(key, operator, tuple(sorted(values)))


@given(st.lists(requirements(), max_size=4))
def test_printed_selector_reads_back_the_same(parts):
    """`kubectl get deploy -o wide` prints selectors that people paste into `-l`."""
    selector = Selector(tuple(sorted(parts, key=lambda part: part.key)))
    assert parse_labels(str(selector)) == selector


@given(st.lists(requirements(), max_size=4), st.dictionaries(KEYS, VALUES, max_size=4))
def test_selector_is_all_of_its_requirements(parts, labels):
    selector = Selector(tuple(parts))
    for part in parts:
        has, value = part.key in labels, labels.get(part.key)
        expected = {
            "in": has and value in part.values,
            "=": has and value in part.values,
            "==": has and value in part.values,
            "notin": not (has and value in part.values),
            "!=": not (has and value in part.values),
            "exists": has,
            "!": not has,
        }.get(part.operator)
        if expected is not None:
            assert part.matches(labels) is expected
    assert selector.matches(labels) is all(part.matches(labels) for part in parts)


@given(st.text("ab/=!(),<> innot1", max_size=12))
def test_any_text_is_a_selector_or_a_bad_request(text):
    """Whatever is typed after -l must never be a 500."""
    try:
        code = 200 if parse_labels(text).matches(None) in (True, False) else 500
    except ApiError as error:
        code = error.code
    assert code in (200, 400)


POD = {
    "metadata": {"name": "web-1", "namespace": "default"},
    "spec": {"nodeName": "local", "hostNetwork": False, "priority": 5},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("metadata.name=web-1", True),
        ("metadata.name==web-1,status.phase!=Failed", True),
        ("status.phase!=Running", False),
        ("spec.nodeName=", False),
        ("spec.hostNetwork=false", True),
        ("spec.priority=5", True),
        ("spec.absent=", True),
        ("spec.absent!=x", True),
        ("metadata.name.deeper=x", False),
    ],
)
def test_field_selector_selects(text, selected):
    assert parse_fields(text).matches(POD) is selected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("status.phase", "invalid selector: 'status.phase'; can't understand 'status.phase'"),
        ("a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"),
        ("a=b=c", "invalid field selector: unescaped character in value: b=c"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
    ],
)
def test_wrong_field_selector_is_told(text, words):
    with pytest.raises(ApiError) as caught:
        parse_fields(text)
    assert (caught.value.code, caught.value.message) == (400, words)


def test_unsupported_field_is_told():
    """`kubectl get pods --field-selector spec.image=x` must not answer with all pods."""
    with pytest.raises(ApiError, match=r"field label not supported: spec\.image"):
        parse_fields("spec.image=x", {"metadata.name", "metadata.namespace"})


def test_exact_field_is_a_look_up():
    selector = parse_fields("metadata.name=web-1,status.phase!=Failed")
    assert selector.exact("metadata.name") == "web-1"
    assert selector.exact("status.phase") is None
    assert parse_labels("") is EVERYTHING


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b.c"]), st.booleans(), st.text("ab,=\\ é", max_size=5)), max_size=3
    )
)
def test_printed_field_selector_reads_back_the_same(terms):
    """Values with commas and backslashes survive: `kubectl describe` selects events by such fields."""

    def escaped(value):
        return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")

    text = ",".join(f"{field}{'=' if equal else '!='}{escaped(value)}" for field, equal, value in terms)
    parsed = parse_fields(text)
    assert [(r.field, r.equal, r.value) for r in parsed.requirements] == terms
    assert parse_fields(str(parsed)) == parsed
