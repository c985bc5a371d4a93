"""`modelport wait`: until a condition holds, or objects are gone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from modelport.cli import Mistake, home, naming, waiting
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.client import Client
    from modelport.kube.resource import Object, Resource


def register(commands: Commands) -> None:
    """Adds the command."""
    wait = commands.add_parser(
        "wait",
        help="wait for a condition",
        description="Waits: modelport wait isvc/iris [--for condition=Ready]",
    )
    wait.set_defaults(command=run)
    home.add_dir(wait)
    home.add_namespace(wait)
    wait.add_argument("what", nargs="+", metavar="KIND/NAME")
    wait.add_argument(
        "--for",
        dest="wanted",
        default="condition=Ready",
        metavar="WHAT",
        help="condition=TYPE[=STATUS] or delete",
    )
    wait.add_argument(
        "--timeout", type=home.seconds, default=120.0, metavar="S", help="seconds (default 120)"
    )


def run(options: argparse.Namespace) -> int:
    """Waits; exit code 1 where time is over."""
    targets = naming.targets(options.what)
    kind, _, rest = options.wanted.partition("=")
    if kind not in ("condition", "delete") or (kind == "condition" and not rest):
        raise Mistake(f"--for: must be condition=TYPE[=STATUS] or delete, got {options.wanted!r}")
    name, _, status = rest.partition("=")

    def wanted(item: Object | None) -> bool:
        return item is None if kind == "delete" else waiting.holds(item, name, status or "True")

    async def wait(client: Client) -> int:
        failed = 0
        for resource, target in targets:
            failed += not await _one(client, resource, target)
        return 1 if failed else 0

    async def _one(client: Client, resource: Resource, target: str) -> bool:
        last: list[Object | None] = [None]
        if await waiting.until(
            client,
            resource,
            options.namespace,
            target,
            wanted,
            options.timeout,
            lambda item: last.append(item),
        ):
            print(f"{resource.qualified}/{target} {'deleted' if kind == 'delete' else 'condition met'}")
            return True
        found = waiting.condition(last[-1], name) if kind == "condition" else None
        why = f": {found.get('message') or found.get('reason') or found['status']}" if found else ""
        gone = "" if last[-1] is not None or kind == "delete" else ": there is no such object"
        note(
            f"error: {resource.qualified}/{target}: not {rest or 'deleted'} after {options.timeout:.0f} s{why}{gone}"
        )
        return False

    return home.speak(options, wait)
