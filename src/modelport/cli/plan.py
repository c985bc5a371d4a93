"""`modelport plan`: what would become of KServe's objects here, field by field, without a running platform."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from modelport.cli import Mistake, documents, home

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.resource import Object
    from modelport.render.assess import Assessment, Field


def register(commands: Commands) -> None:
    """Adds the command."""
    plan = commands.add_parser(
        "plan",
        help="say what of KServe's objects would be carried out",
        description="Reads objects, as of `kubectl get isvc,servingruntime,clusterservingruntime -A -o yaml`, and says of"
        " every field whether it is carried out, accepted but not carried out, or refused, and why. Needs no running"
        " platform. Exit code 1 if anything is refused or not carried out.",
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
    bad = sum(1 for one in found if one.having("refused") or one.having("not carried out"))
    if options.output in ("json", "yaml"):
        whole = {"objects": [_plain(one) for one in found]}
        print(documents.encode(whole) if options.output == "json" else documents.dump(whole).rstrip())
    else:
        for number, one in enumerate(found):
            if number:
                print()
            _print(one, every=options.output == "wide")
        count = "1 object" if len(found) == 1 else f"{len(found)} objects"
        print(f"\n{count}: {len(found) - bad} carried out in full, {bad} not.")
        if bad:
            home.note("\nhint: -o wide lists what is carried out, too; -o json is for programs")
    return 1 if bad else 0


def _plain(one: Assessment) -> Object:
    import msgspec

    answers = {field.answer for field in one.fields}
    verdict = next((a for a in ("refused", "not carried out") if a in answers), "carried out")
    plain: dict[str, Any] = msgspec.to_builtins(one)
    return plain | {"verdict": verdict}


def _print(one: Assessment, *, every: bool) -> None:
    where = f"{one.namespace}/{one.name}" if one.namespace else one.name
    good, told, refused = one.having("carried out"), one.having("not carried out"), one.having("refused")
    counts = [f"{len(good)} fields carried out"]
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
