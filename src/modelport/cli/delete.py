"""`modelport delete`: objects, by name or as in files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from modelport.cli import Mistake, documents, home, naming, waiting
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.client import Client
    from modelport.kube.resource import Resource

GONE_LIMIT_S = 120.0


def register(commands: Commands) -> None:
    """Adds the command."""
    delete = commands.add_parser(
        "delete",
        help="delete objects",
        description="Deletes objects: modelport delete isvc NAME …, isvc --all, or -f FILE",
    )
    delete.set_defaults(command=run)
    home.add_dir(delete)
    home.add_namespace(delete)
    delete.add_argument("what", nargs="*", metavar="KIND NAME …")
    delete.add_argument(
        "-f",
        "--filename",
        action="append",
        default=[],
        metavar="FILE",
        help="what the file holds: file, folder, URL or -",
    )
    delete.add_argument("--all", action="store_true", help="all of the KIND in the namespace; asks nothing")
    delete.add_argument("-l", "--selector", default="", metavar="LABELS", help="those that have them")
    delete.add_argument("--no-wait", action="store_true", help="return before the objects are gone")
    delete.add_argument("--ignore-not-found", action="store_true", help="no error where it is not there")


def run(options: argparse.Namespace) -> int:
    """Deletes them, and waits until they are gone."""
    if options.all or options.selector:
        return _run_many(options)
    if bool(options.what) == bool(options.filename):
        raise Mistake("name what to delete, or give -f FILE", "as in: modelport delete isvc iris")
    wanted = (
        [(resource, options.namespace, name) for resource, name in naming.targets(options.what)]
        if options.what
        else []
    )
    for item in documents.read(options.filename):
        meta = item["metadata"]
        wanted.append((naming.of(item), meta.get("namespace") or options.namespace, meta["name"]))
    if not wanted:
        raise Mistake("no name is given", "as in: modelport delete isvc iris, or modelport delete isvc --all")
    return home.speak(options, lambda client: _delete(client, wanted, options))


def _run_many(options: argparse.Namespace) -> int:
    flag = "--all" if options.all else "-l"
    if options.filename or len(options.what) != 1 or "/" in options.what[0]:
        raise Mistake(f"{flag} goes with a KIND and nothing else", f"as in: modelport delete isvc {flag}")
    if options.all and options.selector:
        raise Mistake("--all and -l: choose one")
    resources = naming.find(options.what[0])

    async def delete(client: Client) -> int:
        wanted: list[tuple[Resource, str, str]] = []
        for resource in resources:
            namespace = options.namespace if resource.namespaced else None
            found = await client.list(resource, namespace, labels=options.selector)
            wanted += [(resource, options.namespace, item["metadata"]["name"]) for item in found.items]
        if not wanted:
            kinds = ", ".join(resource.plural for resource in resources)
            note(f"No {kinds} in namespace {options.namespace}.")
        return await _delete(client, wanted, options)

    return home.speak(options, delete)


async def _delete(
    client: Client, wanted: list[tuple[Resource, str, str]], options: argparse.Namespace
) -> int:
    from modelport.kube.errors import ApiError

    failed = 0
    going: list[tuple[Resource, str, str]] = []
    for resource, namespace, name in wanted:
        try:
            await client.delete(resource, namespace, name)
        except ApiError as error:
            if error.code == 404 and options.ignore_not_found:
                continue
            failed += 1
            note(f"error: {error.message}")
            continue
        print(f"{resource.qualified}/{name} deleted")
        going.append((resource, namespace, name))
    for resource, namespace, name in going if not options.no_wait else []:
        gone = await waiting.until(client, resource, namespace, name, lambda item: item is None, GONE_LIMIT_S)
        if not gone:
            failed += 1
            note(f"error: {resource.qualified}/{name} is still there after {GONE_LIMIT_S:.0f} s")
            note("\nhint: modelport describe says which finalizer or pod keeps it")
    return 1 if failed else 0
