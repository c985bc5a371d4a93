"""`modelport events`: what happened, oldest first."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from modelport.cli import Mistake, colour, home, naming

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.client import Client
    from modelport.kube.resource import Object


def register(commands: Commands) -> None:
    """Adds the command."""
    events = commands.add_parser(
        "events", help="what happened", description="Lists events: modelport events [KIND/NAME]"
    )
    events.set_defaults(command=run)
    home.add_dir(events)
    home.add_namespace(events)
    events.add_argument("what", nargs="?", metavar="KIND/NAME")
    events.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")


def run(options: argparse.Namespace) -> int:
    """Prints them."""
    if options.what is not None and "/" not in options.what:
        raise Mistake(f"{options.what!r} must be KIND/NAME", "as in: isvc/iris")
    target = None if options.what is None else naming.targets([options.what])[0]

    async def list_(client: Client) -> list[Object]:
        from modelport.kube.resource import EVENT

        namespace = None if options.all_namespaces else options.namespace
        return (await client.list(EVENT, namespace)).items

    found = home.speak(options, list_)
    if target is not None:
        found = [event for event in found if concerns(event, target[0].kind, target[1])]
    for line in lines(found):
        print(line)
    if not found:
        home.note("No events.")
    return 0


def concerns(event: Object, kind: str, name: str) -> bool:
    """Whether an event is about an object, or about a pod, Deployment or ReplicaSet that was made for it."""
    about = event.get("involvedObject", {})
    if about.get("kind") == kind and about.get("name") == name:
        return True
    return kind == "InferenceService" and any(
        str(about.get("name", "")).startswith(f"{name}-{part}")
        for part in ("predictor", "transformer", "explainer")
    )


def lines(events: list[Object]) -> list[str]:
    """A line an event, oldest first."""
    ordered = sorted(events, key=when)
    found: list[str] = []
    for event in ordered:
        kind, about = str(event.get("type", "")), event["involvedObject"]
        found.append(
            f"{age(when(event)):>6}  {colour.paint(f'{kind:<8}', 'look' if kind == 'Warning' else '')} "
            f"{event.get('reason', ''):<24} {about.get('kind', '')}/{about.get('name', '')}: "
            f"{event.get('message', '')}{_times(event)}"
        )
    return found


def when(event: Object) -> str:
    """When it was last seen."""
    return (
        event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )


def age(stamp: str) -> str:
    """How long ago, as kubectl says it: 12s, 5m, 3h, 9d."""
    if not stamp:
        return "?"
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _times(event: Object) -> str:
    count = event.get("count") or 1
    return f" (x{count})" if count > 1 else ""
