"""`modelport plan`: what would become of KServe's objects here, field by field, without a running platform."""

from __future__ import annotations

import argparse
import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from modelport.cli import Mistake, colour, documents, home
from modelport.cli.doctor import FRAMEWORKS
from modelport.kube.part import mapping, objects

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.resource import Object
    from modelport.render.assess import Assessment, Field

EXTRAS = {
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "onnx": "onnx",
    "pytorch": "torch",
}
"""Model formats, and the extra that serves each."""
PYTHON = "serving.modelport.io/python"


def register(commands: Commands) -> None:
    """Adds the command."""
    plan = commands.add_parser(
        "plan",
        help="say what of KServe's objects would be carried out",
        description="Reads objects, as of `kubectl get isvc,servingruntime,clusterservingruntime -A -o yaml`, and says of"
        " every field whether it is carried out, accepted but not carried out, or refused, and why; also which"
        " frameworks and files this machine lacks for it. Needs no running platform. Exit code 1 if anything is refused or not carried out.",
    )
    plan.set_defaults(command=run)
    plan.add_argument(
        "-f", "--filename", action="append", required=True, metavar="FILE", help="file, folder, URL or -"
    )
    plan.add_argument(
        "-o", "--output", choices=("text", "wide", "json", "yaml"), default="text", help="wide: every field"
    )


def run(options: argparse.Namespace) -> int:
    """Prints it; exit code 1 unless all is carried out."""
    from modelport.control.seed import config_map
    from modelport.kinds import builtin
    from modelport.local.node import image
    from modelport.render.assess import assess

    items = documents.read(options.filename)
    if not items:
        raise Mistake("no object in these files", "a document needs apiVersion, kind and metadata")
    known = [*builtin.runtimes(version("modelport")), config_map()]
    found = assess(items, known, version("modelport"), image.problem)
    lacking = [missing_here(item, items) for item in items]
    bad = sum(1 for one in found if one.having("refused") or one.having("not carried out"))
    if options.output in ("json", "yaml"):
        whole = {"objects": [_plain(one, notes) for one, notes in zip(found, lacking, strict=True)]}
        print(documents.encode(whole) if options.output == "json" else documents.dump(whole).rstrip())
    else:
        for number, (one, notes) in enumerate(zip(found, lacking, strict=True)):
            if number:
                print()
            _print(one, every=options.output == "wide")
            for note in notes:
                print(f"  {colour.paint('missing here    ', 'look')} {note}")
        count = "1 object" if len(found) == 1 else f"{len(found)} objects"
        print(f"\n{count}: {len(found) - bad} carried out in full, {bad} not.")
        if bad:
            home.note("\nhint: -o wide lists what is carried out, too; -o json is for programs")
    return 1 if bad else 0


def missing_here(item: Object, others: list[Object]) -> list[str]:
    """What this very machine lacks for a service that would be carried out, with the next step. `others`: among them
    may be runtimes of the user's own."""
    if item.get("kind") != "InferenceService":
        return []
    predictor = mapping(mapping(item.get("spec")).get("predictor"))
    model = mapping(predictor.get("model"))
    formats = [str(mapping(model.get("modelFormat")).get("name", ""))] if model else []
    formats += [name for name in EXTRAS if isinstance(predictor.get(name), dict)]
    notes = [
        f"spec.predictor: {EXTRAS[name]} is not installed. Run: pip install 'modelport[{EXTRAS[name]}]'"
        for name in formats
        if name in EXTRAS
        and not _served_otherwise(name, item, model, others)
        and importlib.util.find_spec(FRAMEWORKS[EXTRAS[name]]) is None
    ]
    for part in (model, *(mapping(predictor.get(name)) for name in EXTRAS)):
        uri = part.get("storageUri")
        path = Path(unquote(str(uri).removeprefix("file://"))) if str(uri).startswith("file:///") else None
        if path is not None and not path.exists():
            notes.append(
                f"spec.predictor: {uri}: no such folder or file on this machine. Put the model there."
            )
    return notes


def _served_otherwise(name: str, item: Object, model: Object, others: list[Object]) -> bool:
    """Whether a runtime or an environment of the user's own may serve a format."""
    annotations = mapping(mapping(item.get("metadata")).get("annotations"))
    return (
        bool(model.get("runtime"))
        or PYTHON in annotations
        or any(
            one.get("name") == name
            for other in others
            if str(other.get("kind")).endswith("ServingRuntime")
            for one in objects(mapping(other.get("spec")).get("supportedModelFormats"))
        )
    )


def _plain(one: Assessment, notes: list[str]) -> Object:
    import msgspec

    answers = {field.answer for field in one.fields}
    verdict = next((a for a in ("refused", "not carried out") if a in answers), "carried out")
    plain: dict[str, Any] = msgspec.to_builtins(one)
    return plain | {"verdict": verdict, "missingHere": notes}


def _print(one: Assessment, *, every: bool) -> None:
    where = f"{one.namespace}/{one.name}" if one.namespace else one.name
    good, told, refused = one.having("carried out"), one.having("not carried out"), one.having("refused")
    counts = [f"{len(good)} field{'' if len(good) == 1 else 's'} carried out"]
    counts += [f"{len(told)} not carried out"] if told else []
    counts += [f"{len(refused)} refused"] if refused else []
    print(f"{one.kind} {where}: {', '.join(counts)}")
    for field in refused:
        _field("refused", field)
    for field in told:
        _field("not carried out", field)
    if every:
        for field in good:
            print(f"  carried out      {field.path}")


def _field(word: str, field: Field) -> None:
    reason = field.reason.removeprefix(f"{field.path}: ")
    print(f"  {word:<16} {field.path}: {reason}")
    if field.hint:
        print(f"{'':<19}{field.hint}")
