"""`modelport storage`: which credential would be used and whether it works; what the cache holds; making room."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modelport.cli import Mistake, fetch, home
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.client import Client
    from modelport.kube.resource import Object
    from modelport.storage import Credentials, Look
    from modelport.storage.prune import Held
    from modelport.storage.settings import PlatformSettings

SHOWN = 12
"""Files that `check` lists."""


def register(commands: Commands) -> None:
    """Adds the command and what follows it."""
    storage = commands.add_parser(
        "storage",
        help="check a URI and its credential; list and prune the cache",
        description="Looks after models' files: where they come from, and the cache that they are kept in.",
    )
    steps = storage.add_subparsers(title="steps", metavar="STEP", required=True)
    check = steps.add_parser(
        "check",
        help="say which credential would be used, try it, and name what is wrong",
        description="Asks a store what a URI is, as a fetch would, without fetching it. Exit code 1 where it cannot.",
    )
    check.set_defaults(command=run_check)
    check.add_argument("uri", metavar="URI")
    check.add_argument(
        "--service-account",
        metavar="NAME",
        help="with the credentials of this ServiceAccount of the platform (default: yours, of this terminal)",
    )
    home.add_namespace(check)
    home.add_dir(check)
    check.add_argument("--settings", type=Path, metavar="FILE", help="storage settings, for their mirrors")
    listing = steps.add_parser(
        "list", help="what the cache holds", description="Lists the cache's models, the longest unused first."
    )
    listing.set_defaults(command=run_list)
    fetch.add_cache(listing)
    listing.add_argument(
        "-o",
        "--output",
        choices=("table", "json"),
        default="table",
        help="json: for programs (default table)",
    )
    prune = steps.add_parser(
        "prune",
        help="make room",
        description="Drops models that nobody uses, the longest unused first, until the cache is small enough.",
    )
    prune.set_defaults(command=run_prune)
    fetch.add_cache(prune)
    prune.add_argument("--keep", default="0", metavar="SIZE", help="keep so much, as in 20Gi (default 0)")


def run_check(options: argparse.Namespace) -> int:
    """Says what a fetch would do, and whether it could."""
    from modelport.storage import StorageError, look, redact

    settings = fetch.load(options)
    table = settings.table
    if options.service_account:
        given = _of_account(options)
        rules = _rules(options)
        table = rules.table
        for line in rules.words():
            note(f"platform: {line}")
    else:
        given = fetch.credentials()
    for conflict in given.conflicts:
        note(f"warning: {conflict}")
    known = sorted({setting.source for setting in given.settings.values()})
    note(f"credentials: {', '.join(known) or 'none'}")
    try:
        found = look(options.uri, credentials=given, mirrors=table)
    except StorageError as error:
        note(f"error: {error.message}")
        if error.hint:
            note(f"\nhint: {error.hint}")
        return 1
    print(f"{redact(options.uri)}")
    for line in report(found):
        print(f"  {line}")
    return 0


def report(found: Look) -> list[str]:
    """What is there, in lines."""
    from modelport.storage.policy import SAFE_FORM
    from modelport.storage.space import size

    lines: list[str] = []
    if found.mirrored_from:
        lines.append(f"fetched from {found.mirrored_from}, its mirror")
    lines.append(f"asked with   {found.credential or 'no credential'}")
    if found.version:
        lines.append(f"commit       {found.version}")
        return lines
    count = len(found.files)
    lines.append(f"holds        {count} file{'s' if count != 1 else ''}, {size(found.bytes)}")
    if found.in_place:
        lines.append("used where it lies, never copied")
    if found.unpacked:
        lines.append("an archive, which is unpacked")
    for path, length in found.files[:SHOWN]:
        lines.append(f"  {size(length):>10}  {path}" if length is not None else f"  {path}")
    if count > SHOWN:
        lines.append(f"  … and {count - SHOWN} more")
    risky = [
        path for path, _ in found.files if Path(path).suffix.lower() in set(SAFE_FORM) - {".bin", ".npy"}
    ]
    if risky:
        lines.append(
            f"note: {risky[0]} can run code when it is loaded; the policy for such files is `unsafe`"
        )
    return lines


def _of_account(options: argparse.Namespace) -> Credentials:
    """The credentials of a ServiceAccount of the platform."""
    from modelport.kube.resource import SECRET, SERVICE_ACCOUNT
    from modelport.storage import kserve

    async def read(client: Client) -> tuple[Object, list[Object]]:
        account = await client.get(SERVICE_ACCOUNT, options.namespace, options.service_account)
        return account, (await client.list(SECRET, options.namespace)).items

    account, listed = home.speak(options, read)
    secrets = {one["metadata"]["name"]: one for one in listed}
    for sentence in kserve.unusable(account, secrets):
        note(f"warning: {sentence}")
    return kserve.from_objects(account, secrets)


def _rules(options: argparse.Namespace) -> PlatformSettings:
    """The storage rules of the platform in `options.dir`. Raises Mistake: rules that can't be read are not none."""
    from modelport.kube.resource import CONFIG_MAP
    from modelport.local.node.fetching import SETTINGS, FetchFailed, rules_of

    found = home.speak(options, lambda client: client.find(CONFIG_MAP, *SETTINGS))
    try:
        return rules_of(found)
    except FetchFailed as error:
        raise Mistake(str(error), "kubectl -n kserve edit configmap modelport-config", code=1) from error


def run_list(options: argparse.Namespace) -> int:
    """Prints the cache's models."""
    from modelport.storage import prune
    from modelport.storage.space import size

    cache = fetch.cache(options, fetch.load(options))
    models, halves = prune.held(cache), prune.halves(cache)
    rules = None
    if (cache.folder.parent / "kubeconfig").exists():
        try:
            rules = _rules(argparse.Namespace(dir=cache.folder.parent))
        except Mistake as mistake:  # a list of what is there needs no rules, nor a platform that runs
            note(f"platform: {mistake}")
    if options.output == "json":
        total = prune.size(cache)
        listed = {
            "cache": str(cache.folder),
            "bytes": total,
            "models": [_object(one) for one in models],
            "partial": [asdict(one) for one in halves],
        }
        print(json.dumps(listed | ({"rules": msgspec.to_builtins(rules)} if rules is not None else {})))
        return 0
    if models or halves:
        print(f"{'DIGEST':<14}{'SIZE':>10}  {'USED':<8}{'IN USE':<8}URI")
    now = time.time()
    for one in models:
        used = ago(now - one.used_at) if one.used_at else "never"
        held = "yes" if one.in_use else "no"
        uri = ", ".join(one.uris) or "(its URI is another by now)"
        print(f"{one.digest[7:19]:<14}{size(one.bytes):>10}  {used:<8}{held:<8}{uri}")
    for half in halves:
        used = ago(now - half.changed_at)
        held = "yes" if half.in_use else "no"
        print(f"{'(half)':<14}{size(half.bytes):>10}  {used:<8}{held:<8}{half.uri}")
    note(f"{cache.folder}: {len(models)} models, {size(prune.size(cache))}")
    for line in rules.words() if rules is not None else []:
        note(f"platform: {line}")
    return 0


def _object(one: Held) -> dict[str, object]:
    return {
        "digest": one.digest,
        "uris": one.uris,
        "bytes": one.bytes,
        "used_at": one.used_at,
        "in_use": one.in_use,
    }


def ago(seconds: float) -> str:
    """A time that has passed, in one unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def run_prune(options: argparse.Namespace) -> int:
    """Makes room."""
    from modelport.kube.quantity import Quantity
    from modelport.local.folder import Folder
    from modelport.local.node import environments
    from modelport.storage import prune
    from modelport.storage.space import size

    try:
        keep = Quantity.parse(options.keep).whole()
    except ValueError as error:
        raise Mistake(f"--keep: {error}", "as in --keep 20Gi") from error
    if keep < 0:
        raise Mistake(f"--keep: must be 0 or more, got {options.keep}", "as in --keep 20Gi")
    cache = fetch.cache(options, fetch.load(options))
    done = prune.prune(cache, keep)
    platform = Folder(cache.folder.parent)
    if cache.folder == platform.cache and platform.environments.is_dir():
        dropped = environments.prune(platform, now=datetime.now(UTC), unused_s=0.0)
        note(
            f"{dropped} Python environment{'s' if dropped != 1 else ''} dropped from {platform.environments}"
        )
    count = f"{done.models} model{'s' if done.models != 1 else ''}"
    print(f"{count} dropped, {size(done.freed_bytes)} freed, {size(done.left_bytes)} left in {cache.folder}")
    if done.left_bytes > keep:
        note(f"what is left is in use; it is more than --keep {options.keep}")
        return 1
    return 0
