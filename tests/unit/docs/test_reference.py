"""The documentation says what the code does: nothing public is left out, and every link leads somewhere."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import textwrap
from pathlib import Path

import pytest

from modelport.protocol import datatype, errors

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
DATAPLANE = ROOT / "crates" / "dataplane"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _generator():
    path = str(ROOT / "scripts" / "reference")
    loader = importlib.machinery.SourceFileLoader("reference", path)
    spec = importlib.util.spec_from_loader("reference", loader)
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # scripts/ is no place for a cache
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


reference = _generator()


def page(name: str) -> str:
    return (DOCS / "reference" / name).read_text()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in (
        "MODELPORT_HOST",
        "PREDICT_PROBA",
        "MODELPORT_DIR",
        "MODELPORT_KEY",
    ):  # they are defaults of flags
        monkeypatch.delenv(name, raising=False)


def test_generated_parts_are_fresh():
    assert [named(old) for old in reference.stale()] == [], "run: .venv/bin/python scripts/reference"


@pytest.mark.parametrize("command", ["serve", "bench"])
def test_every_flag_is_in_the_reference(command):
    parser = reference.commands()[command]
    text = page("serve.md")
    for action in parser._actions:
        for flag in set(action.option_strings) - {"-h", "--help"}:
            assert re.search(rf"`{re.escape(flag)}[ `]", text), flag


def test_every_command_is_in_the_reference():
    text = page("serve.md") + page("platform.md")
    for command in reference.commands():
        assert f"## modelport {command}" in text


@pytest.mark.parametrize("command", ["serve", "bench"])
def test_defaults_that_help_names_are_the_parsers(command):
    for action in reference.flags(reference.commands()[command]):
        said = re.search(r"\(default ([\d.]+)( MiB)?[;):]", action.help or "")
        if said is None or action.default is None:
            continue
        value = said[1] if not said[2] else str(int(said[1]) << 20)
        number = isinstance(action.default, int | float)
        assert (float(value) == action.default) if number else (value == action.default), action.dest


def test_every_metric_is_in_the_reference():
    families = reference.families()
    assert len(families) > 20
    for family in families:
        assert f"`{family.name}`" in page("metrics.md")


def test_what_the_gateway_logs_and_answers_is_in_the_reference():
    """Whoever writes a dashboard or parses the log has nothing else to go by."""
    text = page("gateway.md")
    line = (
        (DATAPLANE / "src/gateway/access.rs")
        .read_text()
        .partition("struct Line<'a> {")[2]
        .partition("\n}")[0]
    )
    members = re.findall(r"^    (\w+): ", line, re.MULTILINE)
    assert len(members) > 12
    assert re.findall(r"^\| `(\w+)` \| [^|]+ \|$", text.partition("## Admin")[0], re.MULTILINE) == members
    admin = (DATAPLANE / "src/gateway/admin.rs").read_text()
    requests = re.findall(r'\(&Method::(GET|POST), "(/\w+)"\)', admin)
    assert len(requests) > 3
    for method, path in requests:
        assert f"| `{method} {path}` |" in text


def test_every_ending_is_in_the_reference():
    from modelport.runtimes.catalog import RUNTIMES

    text = page("serve.md")
    for runtime in RUNTIMES:
        for suffix in runtime.suffixes:
            assert f"`{suffix}`" in text, f"{suffix} of {runtime.name}"


def test_every_route_is_in_the_reference():
    source = (DATAPLANE / "src/listen/route.rs").read_text()
    routes = re.findall(r'^\s+\("(GET|POST)", "(/[^"]*)"\),$', source, re.MULTILINE)
    assert len(routes) > 20
    for method, path in routes:
        assert f"`{method} {path}`" in page("protocols.md")


def test_every_call_is_in_the_reference():
    text = page("protocols.md")
    for proto in sorted((DATAPLANE / "proto").glob("*.proto")):
        calls = re.findall(r"^  rpc (\w+)\(", proto.read_text(), re.MULTILINE)
        assert calls, proto.name
        for call in calls:
            assert f"`{call}`" in text


def test_every_kind_of_error_is_in_the_reference_with_its_codes():
    source = (DATAPLANE / "src/error.rs").read_text()
    kinds = re.findall(
        r"^    (\w+),$", source.partition("pub enum Kind {")[2].partition("\n}")[0], re.MULTILINE
    )
    assert len(kinds) > 8
    http, grpc = (
        _codes(source.partition(f"pub const fn {name}(self)")[2].partition("\n    }\n")[0])
        for name in ("http", "grpc")
    )
    rows = dict(re.findall(r"^\| (\w+) (\| \d{3} \| \d+) ", page("errors.md"), re.MULTILINE))
    assert rows == {kind: f"| {http[kind]} | {grpc[kind]}" for kind in kinds}


def _codes(body: str) -> dict[str, str]:
    return {
        kind: code
        for left, code in re.findall(r"^\s+((?:Self::\w+ ?\|? ?)+)=> (\d+),$", body, re.MULTILINE)
        for kind in re.findall(r"Self::(\w+)", left)
    }


def test_every_error_class_is_in_the_reference_with_its_status():
    classes = [
        each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, errors.ServeError)
    ]
    assert len(classes) > 5
    for each in classes:
        row = re.search(
            rf"^\| `{each.__name__}(?:\([^`]*\))?` \| ([^|]+) \|", page("errors.md"), re.MULTILINE
        )
        assert row, each.__name__
        assert row[1].startswith("any" if each is errors.HTTPError else str(each.status))


def test_every_datatype_is_in_the_reference_with_its_size():
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", page("datatypes.md"), re.MULTILINE))
    assert set(rows) == set(datatype.DATATYPES)
    for name, size in rows.items():
        assert size == ("any" if name == "BYTES" else str(datatype.numpy_dtype(name).itemsize))


def test_every_member_of_modelport_json_is_in_the_reference():
    from modelport.server.saved import Example, Saved
    from modelport.server.signature import Signature, TensorSpec

    text = page("modelport-json.md")
    for struct, apart in ((Saved, {"notes"}), (Example, set()), (Signature, set()), (TensorSpec, set())):
        for name in set(struct.__struct_fields__) - apart:  # notes are made while reading, not written
            assert f"| `{name}` |" in text, f"{struct.__name__}.{name}"


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links_lead_somewhere(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        place, _, anchor = target.partition("#")
        found = (path.parent / place).resolve() if place else path
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            assert anchor in _anchors(found), target


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_page_is_reachable_from_the_index(path):
    if path in (DOCS / "README.md", ROOT / "README.md"):
        return
    index = (DOCS / "README.md").read_text()
    assert f"({path.relative_to(DOCS)})" in index


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_python_blocks_parse(path):
    for block in re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        ast.parse(textwrap.dedent(block))


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_public_names_in_blocks_are_public(path):
    import modelport
    import modelport.testing

    for block in re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "modelport":
                assert hasattr(modelport, node.attr), node.attr
            if isinstance(node, ast.ImportFrom) and node.module == "modelport":
                for name in node.names:
                    assert hasattr(modelport, name.name), name.name


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_flags_that_pages_show_exist(path):
    known = {flag for parser in reference.commands().values() for flag in parser._option_string_actions}
    lines = re.findall(r"\bmodelport (?:serve|bench) ([^`\n]*)", path.read_text())
    for line in lines:
        for flag in re.findall(r"(?<!\S)(--[a-z][\w-]*)", line.partition("|")[0].partition("#")[0]):
            assert flag in known, flag


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_targets_that_pages_name_are_in_the_makefile(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = path.read_text()
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE):
        assert target in targets, target
