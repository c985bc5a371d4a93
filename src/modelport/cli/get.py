"""`modelport get`: objects as tables, names, YAML or JSON."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from modelport.cli import Mistake, colour, documents, home, naming
from modelport.cli.home import note

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from modelport.cli import Commands
    from modelport.kube.client import Client
    from modelport.kube.resource import Object, Resource

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def register(commands: Commands) -> None:
    """Adds the command."""
    get = commands.add_parser(
        "get", help="list objects", description="Lists objects: modelport get isvc [NAME …]"
    )
    get.set_defaults(command=run)
    home.add_dir(get)
    home.add_namespace(get)
    get.add_argument("what", nargs="*", metavar="KIND [NAME …]", default=["isvc"], help="default: isvc")
    get.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    get.add_argument("-l", "--selector", default="", metavar="LABELS", help="as in app=web,tier!=test")
    get.add_argument("-w", "--watch", action="store_true", help="go on showing changes until interrupted")
    get.add_argument(
        "-o",
        "--output",
        choices=("table", "wide", "name", "yaml", "json"),
        default="table",
        help="wide: a table with more columns (default table)",
    )


def run(options: argparse.Namespace) -> int:
    """Prints them; exit code 1 where a named one is missing."""
    words: list[str] = options.what
    if "/" in words[0] or "" in words[1:]:
        wanted = [(resource, [name]) for resource, name in naming.targets(words)]
    else:
        wanted = [(resource, words[1:]) for resource in naming.find(words[0])]
    if options.all_namespaces and any(names and resource.namespaced for resource, names in wanted):
        raise Mistake("-A lists all namespaces, and a name is of one", "give -n NAMESPACE, or no name")
    if options.watch and len(wanted) > 1:
        raise Mistake("--watch shows one kind", "modelport get isvc -w")
    return home.speak(options, lambda client: _get(client, wanted, options))


async def _get(client: Client, wanted: list[tuple[Resource, list[str]]], options: argparse.Namespace) -> int:
    from modelport.kube.client import address
    from modelport.kube.errors import ApiError

    items: list[Object] = []
    shown = failed = 0
    for resource, names in wanted:
        namespace = None if options.all_namespaces or not resource.namespaced else options.namespace
        if options.output in ("table", "wide"):
            for name in names or [None]:
                try:
                    path = resource.path(namespace) if name is None else address(resource, namespace, name)
                    table = await client.request("GET", path, params=_params(options, name), accept=TABLE)
                except ApiError as error:
                    failed += 1
                    note(f"error: {error.message}")
                    continue
                if table["rows"]:
                    if shown:
                        print()
                    _print(table, options, resource, header=True, several=len(wanted) > 1)
                    shown += 1
            continue
        if names:
            for name in names:
                try:
                    items.append(await client.get(resource, namespace, name))
                except ApiError as error:
                    failed += 1
                    note(f"error: {error.message}")
        else:
            items += (await client.list(resource, namespace, labels=options.selector)).items
    if options.output == "name":
        for item in items:
            print(f"{naming.of(item).qualified}/{item['metadata']['name']}")
    elif options.output in ("yaml", "json"):
        one = len(items) == 1 and any(names for _, names in wanted)
        whole: Any = items[0] if one else {"apiVersion": "v1", "kind": "List", "items": items}
        print(documents.encode(whole) if options.output == "json" else documents.dump(whole), end="")
        print() if options.output == "json" else None
    elif not shown and not failed and not options.watch:
        where = "in any namespace" if options.all_namespaces else f"in namespace {options.namespace}"
        note(f"No {wanted[0][0].plural} {where}.")
    if options.watch:
        resource, names = wanted[0]
        await _watch(client, resource, names, options)
    return 1 if failed else 0


def _params(options: argparse.Namespace, name: str | None) -> dict[str, str]:
    return {"labelSelector": options.selector} if options.selector and name is None else {}


async def _watch(client: Client, resource: Resource, names: list[str], options: argparse.Namespace) -> None:
    """Goes on until interrupted: an API server that is killed is back in a second, and what changed meanwhile is told."""
    from modelport.cli.patience import Patience
    from modelport.cli.waiting import GONE
    from modelport.kube.client import Unreachable
    from modelport.kube.errors import ApiError

    namespace = None if options.all_namespaces else options.namespace
    since = (await client.list(resource, namespace, labels=options.selector)).resource_version
    patience = Patience()
    while True:
        try:
            async for version in _changes(client, resource, namespace, names, options, since):
                since = version
                patience.answered()
        except (Unreachable, ApiError) as error:
            if isinstance(error, ApiError) and error.code == GONE:
                since = "0"  # it goes on from now
            else:
                await patience.bear(error)


async def _changes(
    client: Client,
    resource: Resource,
    namespace: str | None,
    names: list[str],
    options: argparse.Namespace,
    since: str,
) -> AsyncIterator[str]:
    """Prints each, and gives the version up to which all are printed."""
    async for event in client.watch(resource, namespace, since=since, labels=options.selector):
        meta = event.object["metadata"]
        if event.type == "BOOKMARK" or (names and meta["name"] not in names):
            yield meta["resourceVersion"]
            continue
        if event.type == "DELETED":
            note(f"{resource.qualified}/{meta['name']} deleted")
            yield meta["resourceVersion"]
            continue
        table = await client.request(
            "GET",
            resource.path(meta.get("namespace"), None),
            params={"fieldSelector": f"metadata.name={meta['name']}"},
            accept=TABLE,
        )
        if options.output in ("table", "wide"):
            _print(table, options, resource, header=False)
        else:
            print(f"{resource.qualified}/{meta['name']}", flush=True)
        yield meta["resourceVersion"]


def _print(
    table: Object, options: argparse.Namespace, resource: Resource, *, header: bool, several: bool = False
) -> None:
    chosen = [
        (number, column["name"])
        for number, column in enumerate(table["columnDefinitions"])
        if options.output == "wide" or not column.get("priority")
    ]
    heads = [name.upper() for _, name in chosen]
    rows = [[_cell(row["cells"][number]) for number, _ in chosen] for row in table["rows"]]
    if several:  # as kubectl does: a name alone does not say of what
        for row in rows:
            row[heads.index("NAME")] = f"{_kind(resource)}/{row[heads.index('NAME')]}"
    if options.all_namespaces and resource.namespaced:
        heads.insert(0, "NAMESPACE")
        for row, source in zip(rows, table["rows"], strict=True):
            row.insert(0, source.get("object", {}).get("metadata", {}).get("namespace", ""))
    widths = [max([len(head), *(len(row[i]) for row in rows)]) for i, head in enumerate(heads)]
    if header:
        print(_line(heads, heads, widths), flush=True)
    for row in rows:
        print(_line(row, heads, widths, colour.state), flush=True)


def _line(row: list[str], heads: list[str], widths: list[int], state: Callable[[str], str] = str) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    cells[-1] = cells[-1].rstrip()
    shown = [state(cell) if head in colour.COLUMNS else cell for cell, head in zip(cells, heads, strict=True)]
    return "   ".join(shown).rstrip()


def _kind(resource: Resource) -> str:
    """As in `pod` and `deployment.apps`."""
    return f"{resource.kind.lower()}.{resource.group}" if resource.group else resource.kind.lower()


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
