"""YAML in, objects out: `tests/golden/render/<case>/in.yaml` and `out.yaml`; and render never raises.

UPDATE_GOLDEN=1 rewrites the outs; read the diff.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.control.seed import config_map
from modelport.kinds import builtin, config, servingruntime
from modelport.kinds.inferenceservice import KIND, decode
from modelport.kinds.inferenceservice.defaulting import fill
from modelport.kube.schema import Schema, validate
from modelport.render.check import check
from modelport.render.render import render
from modelport.render.rendered import Around, Rendered

GOLDEN = Path(__file__).parents[2] / "golden" / "render"
CASES = sorted(path.name for path in GOLDEN.iterdir())
BUILTIN = [servingruntime.decode(item, cluster=True) for item in builtin.runtimes("1.0")]
UNTOLD = ("securityContext", "imagePullPolicy", "prometheus.kserve.io/path")


def rendered(documents: list[dict[str, Any]]) -> Rendered:
    service = next(one for one in documents if one["kind"] == "InferenceService")
    settings_ = next((one for one in documents if one["kind"] == "ConfigMap"), config_map())
    runtimes = [
        servingruntime.decode(one, cluster=False) for one in documents if one["kind"] == "ServingRuntime"
    ]
    found, problems = config.decode(settings_)
    assert problems == []
    return render(
        decode(fill(copy.deepcopy(service), found)),
        Around(config=found, runtimes=[*runtimes, *BUILTIN]),
        "1.0",
    )


def short(value: Any) -> Any:
    """Without what is so everywhere."""
    if isinstance(value, list):
        return [short(one) for one in value]
    if isinstance(value, dict):
        return {key: short(one) for key, one in value.items() if key not in UNTOLD}
    return value


@pytest.mark.parametrize("case", CASES)
def test_render(case: str) -> None:
    """Each case's comment says what it protects."""
    found = rendered(list(yaml.safe_load_all((GOLDEN / case / "in.yaml").read_text())))
    assert check(found.objects) == [], "a golden can freeze a bug; this cannot be updated away"
    shown = {
        "problems": [str(problem) for problem in found.problems],
        "ignored": found.ignored,
        "url": found.url,
        "address": found.address,
        "objects": [short(msgspec.to_builtins(one)) for one in found.objects],
    }
    plain = {key: value for key, value in shown.items() if value}
    text = yaml.dump(plain, sort_keys=False, default_flow_style=False, width=110, Dumper=_Dumper)
    path = GOLDEN / case / "out.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text


class _Dumper(yaml.SafeDumper):
    """Without anchors: each object is read by itself."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# What a schema allows, at random.

TEXT = st.text("abc-/.:{} 0", max_size=6)


def values(schema: Schema, depth: int = 0) -> st.SearchStrategy[Any]:
    if schema.int_or_string:
        return st.integers(0, 9) | TEXT
    if schema.enum:
        return st.sampled_from(schema.enum)
    kind = schema.type
    if kind == "integer":
        return st.integers(-1, 9000)
    if kind == "boolean":
        return st.booleans()
    if kind == "array":
        return st.lists(values(schema.items, depth + 1), max_size=2) if depth < 7 else st.just([])
    if kind == "object" or schema.properties:
        if not schema.properties:
            return st.dictionaries(TEXT, TEXT, max_size=2)
        if depth >= 7:
            return st.just({})
        names = list(schema.properties)

        @st.composite
        def some(draw: Any) -> dict[str, Any]:
            chosen = draw(st.lists(st.sampled_from(names), max_size=4, unique=True))
            chosen += [name for name in schema.required if name not in chosen]
            found = {}
            for name in chosen:
                below = schema.field(name)
                if below is not None:
                    found[name] = draw(values(below, depth + 1))
            return found

        return some()
    return TEXT


SPEC = KIND.checked.properties["spec"]
COMPONENT = {name: values(SPEC.properties[name], 2) for name in ("predictor", "transformer", "explainer")}
CONTAINERS = st.lists(
    values(SPEC.properties["predictor"].properties["containers"].items, 3), min_size=1, max_size=3
)
MODEL = values(SPEC.properties["predictor"].properties["model"], 3).map(
    lambda model: model | {"modelFormat": {"name": "sklearn"}}
)


@st.composite
def specs(draw: Any) -> dict[str, Any]:
    """Mostly with a model or containers, for without one it is over early."""
    predictor = draw(COMPONENT["predictor"])
    predictor |= draw(st.sampled_from([{"model": draw(MODEL)}, {"containers": draw(CONTAINERS)}, {}]))
    found = {"predictor": predictor}
    for name in ("transformer", "explainer"):
        if draw(st.booleans()):
            found[name] = draw(COMPONENT[name]) | {"containers": draw(CONTAINERS)}
    return found


@settings(deadline=None)
@given(spec=specs(), name=st.sampled_from(["iris", "i" * 60]))
def test_render_is_total_and_what_it_makes_holds_together(spec: dict[str, Any], name: str) -> None:
    """Whatever the API server lets through becomes objects that fit together, or problems: never an exception,
    which a user would only see as a service that is being made for ever."""
    item = {"metadata": {"name": name, "namespace": "models"}, "spec": spec}
    settings_ = config.decode(config_map())[0]
    item = fill(copy.deepcopy(item), settings_)
    if validate(KIND.checked, item):
        return
    try:
        service = decode(item)
    except msgspec.ValidationError:
        return
    found = render(service, Around(config=settings_, runtimes=BUILTIN), "1.0")
    assert check(found.objects) == []
    assert bool(found.objects) != bool(found.problems) or found.stopped
