"""JSON patches (RFC 6902) and merge patches (RFC 7386), judged by the RFCs' own examples and by plain models."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.kube.errors import ApiError
from modelport.kube.patch import MOST_OPERATIONS, json_patch, merge_patch
from modelport.kube.value import same

# RFC 7386, appendix A.
MERGES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ({"a": 1}, {"a": True}, {"a": True}),
]


@pytest.mark.parametrize(("document", "patch", "merged"), MERGES)
def test_merge_patch_as_in_its_rfc(document, patch, merged):
    given_document, given_patch = copy.deepcopy(document), copy.deepcopy(patch)
    assert same(merge_patch(document, patch), merged)
    assert same(document, given_document)
    assert same(patch, given_patch)


# RFC 6902, appendix A, and the corners that its text names.
CHANGES = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ({"foo": [1, 3]}, [{"op": "add", "path": "/foo/1", "value": 2}], {"foo": [1, 2, 3]}),
    ({"foo": [1]}, [{"op": "add", "path": "/foo/1", "value": 2}], {"foo": [1, 2]}),
    ({"foo": [1]}, [{"op": "add", "path": "/foo/-", "value": [2]}], {"foo": [1, [2]]}),
    ({"baz": 1, "foo": 2}, [{"op": "remove", "path": "/baz"}], {"foo": 2}),
    ({"foo": [1, 2, 3]}, [{"op": "remove", "path": "/foo/1"}], {"foo": [1, 3]}),
    ({"baz": 1}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
    ({"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 3}], {"a": [3, 2]}),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    ({"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}], {"a": 1}),
    ({"a": {"b": [1]}}, [{"op": "copy", "from": "/a/b", "path": "/c"}], {"a": {"b": [1]}, "c": [1]}),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
    ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
    ({"a": [{"b": 1}]}, [{"op": "test", "path": "/a/0", "value": {"b": 1}}], {"a": [{"b": 1}]}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"m": {"a/b": 1}}, [{"op": "remove", "path": "/m/a~1b"}], {"m": {}}),
    ({"": 1}, [{"op": "replace", "path": "/", "value": 2}], {"": 2}),
    ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ({"a": None}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": 1, "extra": True}], {"foo": "bar", "baz": 1}),
    ({"a": 1}, [], {"a": 1}),
]


@pytest.mark.parametrize(("document", "patch", "changed"), CHANGES)
def test_json_patch_as_in_its_rfc(document, patch, changed):
    before = copy.deepcopy(document)
    assert same(json_patch(document, patch), changed)
    assert document == before


@pytest.mark.parametrize(
    ("document", "patch", "words"),
    [
        ({"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "bar"}], "(test /baz): test failed"),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": True}], "(test /a): test failed"),
        ({"a": 1}, [{"op": "test", "path": "/b", "value": None}], "there is no /b"),
        ({"foo": "bar"}, [{"op": "add", "path": "/baz/bat", "value": 1}], "there is no /baz"),
        (
            {"foo": "bar"},
            [{"op": "add", "path": "/foo/bat", "value": 1}],
            "/foo is neither an object nor a list",
        ),
        ({"a": {}}, [{"op": "remove", "path": "/a/b"}], "there is no 'b' to remove"),
        ({"a": {}}, [{"op": "replace", "path": "/a/b", "value": 1}], "there is no 'b' to replace"),
        ({"a": [1]}, [{"op": "remove", "path": "/a/1"}], "index 1 is out of bounds, the list has 1 items"),
        ({"a": [1]}, [{"op": "add", "path": "/a/3", "value": 1}], "index 3 is out of bounds"),
        ({"a": [1]}, [{"op": "remove", "path": "/a/-"}], "'-' is not an index"),
        ({"a": [1]}, [{"op": "add", "path": "/a/01", "value": 1}], "'01' is not an index"),
        ({"a": [1]}, [{"op": "add", "path": "/a/-1", "value": 1}], "'-1' is not an index"),
        ({"a": {}}, [{"op": "move", "from": "/a", "path": "/a/b"}], "cannot move a value into itself"),
        ({"a": 1}, [{"op": "remove", "path": ""}], "the whole document cannot be removed"),
    ],
)
def test_patch_that_does_not_fit_names_the_operation(document, patch, words):
    """`kubectl patch --type=json` prints it: the user must see which operation and why."""
    with pytest.raises(ApiError) as caught:
        json_patch(document, [{"op": "test", "path": "", "value": document}, *patch])
    assert caught.value.code == 422
    assert "operation 1 (" in caught.value.message
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"op": "add"}, "a JSON patch is a list of operations"),
        (["x"], "operation 0: must be an object with op and path, got 'x'"),
        ([{"op": "add", "value": 1}], "operation 0: path must be a JSON pointer"),
        (
            [{"op": "add", "path": "spec", "value": 1}],
            "path must be a JSON pointer as in /spec/replicas, got 'spec'",
        ),
        ([{"op": "add", "path": "/a"}], "operation 0 (add /a): value is missing"),
        (
            [{"op": "spam", "path": "/a", "value": 1}],
            "op must be add, remove, replace, move, copy or test, got 'spam'",
        ),
        ([{"op": "copy", "path": "/a"}], "from must be a JSON pointer"),
    ],
)
def test_patch_that_makes_no_sense_is_a_bad_request(patch, words):
    with pytest.raises(ApiError) as caught:
        json_patch({}, patch)
    assert caught.value.code == 400
    assert words in caught.value.message


def test_patch_cannot_grow_without_bound():
    """Thirty copies that each double the document would take all memory."""
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"} for _ in range(40)]
    with pytest.raises(ApiError, match="copies more than 3145728 bytes"):
        json_patch({"a": ["x" * 100]}, doubling)
    many = [{"op": "test", "path": "", "value": {}}] * (MOST_OPERATIONS + 1)
    with pytest.raises(ApiError, match="The allowed maximum operations in a JSON patch is 10000, got 10001"):
        json_patch({}, many)


LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "x", "é"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def merged_plainly(document, patch):
    """RFC 7386, section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    document = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            document.pop(name, None)
        else:
            document[name] = merged_plainly(document.get(name), value)
    return document


@given(DOCUMENTS, DOCUMENTS)
def test_merge_patch_is_the_rfcs_pseudocode(document, patch):
    before = copy.deepcopy(document)
    merged = merge_patch(document, patch)
    assert same(merged, merged_plainly(document, patch))
    assert same(document, before)
    assert same(merge_patch(merged, patch), merged)


@given(DOCUMENTS)
def test_patch_that_changes_nothing_returns_the_very_document(document):
    """The store skips writes by it: no new resourceVersion, no event for watchers."""
    without_nulls = merged_plainly({}, document)
    assert merge_patch(without_nulls, copy.deepcopy(without_nulls)) is without_nulls


@st.composite
def operations(draw):
    path = "".join(
        f"/{draw(st.sampled_from(['a', 'b', 'c', '0', '1', '-']))}" for _ in range(draw(st.integers(1, 3)))
    )
    op = draw(st.sampled_from(["add", "replace", "remove", "copy", "move", "test"]))
    step = {"op": op, "path": path}
    if op in ("add", "replace", "test"):
        step["value"] = draw(VALUES)
    elif op != "remove":
        step["from"] = "/" + draw(st.sampled_from("abc"))
    return step


def patched_plainly(document, steps):
    """The operations done in place on a copy; None where one does not fit."""
    document = copy.deepcopy(document)

    def parent_of(path):
        *way, last = path.split("/")[1:]
        here = document
        for name in way:
            here = here[int(name)] if isinstance(here, list) and name.isdigit() else here[name]
        return here, last

    def take(path, *, remove):
        here, last = parent_of(path)
        key = int(last) if isinstance(here, list) else last
        return here.pop(key) if remove else here[key]

    def put(path, value):
        here, last = parent_of(path)
        if isinstance(here, list):
            place = len(here) if last == "-" else int(last)
            if place > len(here):
                raise IndexError
            here.insert(place, value)
        else:
            here[last] = value

    try:
        for step in steps:
            match step["op"]:
                case "add":
                    put(step["path"], copy.deepcopy(step["value"]))
                case "replace":
                    take(step["path"], remove=False)
                    here, last = parent_of(step["path"])
                    here[int(last) if isinstance(here, list) else last] = copy.deepcopy(step["value"])
                case "remove":
                    take(step["path"], remove=True)
                case "test":
                    if not same(take(step["path"], remove=False), step["value"]):
                        return None
                case "copy":
                    put(step["path"], copy.deepcopy(take(step["from"], remove=False)))
                case "move":
                    if step["path"].startswith(step["from"] + "/"):
                        return None
                    put(step["path"], take(step["from"], remove=True))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
    return document


@given(DOCUMENTS, st.lists(operations(), max_size=5))
def test_json_patch_does_what_changes_in_place_would_do(document, steps):
    before = copy.deepcopy(document)
    expected = patched_plainly(document, steps)
    try:
        changed = json_patch(document, steps)
    except ApiError as error:
        changed = None if error.code == 422 else error
    assert same(changed, expected)
    assert same(document, before)


@given(DOCUMENTS, VALUES)
def test_any_json_as_a_patch_gets_an_answer(document, patch):
    for how in (json_patch, merge_patch):
        try:
            how(document, patch)
        except ApiError as error:
            code = error.code
        else:
            code = 200
        assert code in (200, 400, 422)


def test_numbers_and_truths_are_told_apart():
    """Python says `True == 1`; a patch from 1 to true must not be lost."""
    assert not same(True, 1)
    assert not same({"a": [0]}, {"a": [False]})
    assert same(1, 1.0)
    assert not same([], {})
    assert not same(None, False)
    assert not same({"a": None}, {})
