"""`modelport apply`: objects from files onto the platform, by server-side apply."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from modelport.cli import Mistake, documents, home, naming
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.client import Client
    from modelport.kube.resource import Object

MANAGER = "modelport-cli"


def register(commands: Commands) -> None:
    """Adds the command."""
    apply = commands.add_parser(
        "apply",
        help="put objects from files onto the platform",
        description="Applies KServe's and Kubernetes' objects from YAML or JSON; the same files as for kubectl apply.",
    )
    apply.set_defaults(command=run)
    home.add_dir(apply)
    home.add_namespace(apply)
    apply.add_argument(
        "-f", "--filename", action="append", required=True, metavar="FILE", help="file, folder, URL or -"
    )
    apply.add_argument("--dry-run", action="store_true", help="let the server check, change nothing")
    apply.add_argument(
        "--force",
        action="store_true",
        help="take over fields that somebody else has set (kubectl, for example)",
    )
    apply.add_argument(
        "-o",
        "--output",
        choices=("name", "yaml", "json"),
        default="name",
        help="what to print of each object (default name)",
    )


def run(options: argparse.Namespace) -> int:
    """Applies them in the order of the files; says what became of each."""
    items = documents.read(options.filename)
    if not items:
        raise Mistake("no object in these files", "a document needs apiVersion, kind and metadata")
    return home.speak(options, lambda client: _apply(client, items, options))


async def _apply(client: Client, items: list[Object], options: argparse.Namespace) -> int:
    from modelport.kube.errors import ApiError

    failed = 0
    for item in items:
        resource = naming.of(item)
        meta = item["metadata"]
        if resource.namespaced:
            meta.setdefault("namespace", options.namespace)
        name = f"{resource.qualified}/{meta.get('name', '?')}"
        before = (
            await client.find(resource, meta.get("namespace"), meta["name"]) if meta.get("name") else None
        )
        try:
            after = await client.apply(
                resource,
                item,
                field_manager=MANAGER,
                force=options.force or _by_kubectl(before),
                dry_run=options.dry_run,
                strict=True,
            )
        except ApiError as error:
            failed += 1
            note(f"error: {name}: {error.message}")
            if error.code == 409 and not options.force:
                note("\nhint: --force takes these fields over")
            elif "field not declared in schema" in error.message:
                files = " ".join(f"-f {file}" for file in options.filename)
                note(f"\nhint: modelport plan {files} says which name may be meant")
            continue
        if options.output == "name":
            same = before is not None and before["metadata"].get("resourceVersion") == after["metadata"].get(
                "resourceVersion"
            )
            done = "created" if before is None else "unchanged" if same else "configured"
            print(f"{name} {done}{' (dry run)' if options.dry_run else ''}")
        else:
            print(documents.encode(after) if options.output == "json" else "---\n" + documents.dump(after))
    return 1 if failed else 0


def _by_kubectl(before: Object | None) -> bool:
    """Fields that `kubectl apply` set are the same person's: taking them over surprises nobody."""
    managers = (before or {}).get("metadata", {}).get("managedFields", [])
    return any(str(entry.get("manager", "")).startswith("kubectl") for entry in managers)
