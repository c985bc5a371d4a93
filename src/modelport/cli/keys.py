"""`modelport keys`: API keys for the gateway: made here and shown once, kept as hashes, taken back by name."""

from __future__ import annotations

import argparse
import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from modelport.cli import Mistake, documents, home
from modelport.cli.events import age
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.cli.kept_keys import Key
    from modelport.kube.client import Client
    from modelport.local.folder import Folder

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
LONGEST_NAME = 200
SERVICE = re.compile(r"([a-z0-9-]+/)?([a-z0-9.-]+|\*)")
BYTES = 24
IN_FORCE_S = 5.0


def register(commands: Commands) -> None:
    """Adds the command and what follows it."""
    keys = commands.add_parser(
        "keys",
        help="make, list and delete API keys",
        description="API keys for the gateway. As long as there is one, every request needs a key or a token.",
    )
    steps = keys.add_subparsers(title="steps", metavar="STEP", required=True)
    create = steps.add_parser(
        "create",
        help="make a key and print it, once",
        description="Makes a key and prints it; only its hash is kept, in a Secret or in the platform's file. Without"
        " --predict, --explain and --admin it may predict and explain with every service of the namespace.",
    )
    create.set_defaults(command=run_create)
    create.add_argument("name", metavar="NAME", help="whose key it is: in the access log, and for delete")
    home.add_dir(create)
    _add_namespace(create, "of the services (default: default)")
    create.add_argument("-A", "--all-namespaces", action="store_true", help="services of all namespaces")
    for verb, what in (("predict", "predictions"), ("explain", "explanations")):
        create.add_argument(
            f"--{verb}",
            action="append",
            default=[],
            metavar="SERVICE",
            help=f"may ask it for {what}; NAME, NAMESPACE/NAME or '*'; repeatable",
        )
    create.add_argument(
        "--admin",
        action="store_true",
        help="may also load and unload models, of the services named or of every one",
    )
    create.add_argument(
        "--expires", metavar="WHEN", help="ends by itself: 12h, 30d, 4w, or 2027-01-31 (default: never)"
    )
    create.add_argument(
        "--file", action="store_true", help="keep it in the file api-keys of the folder, not in a Secret"
    )
    _add_output(create, ("key", "json"), "key")
    listing = steps.add_parser(
        "list",
        help="names, what they may do, and since when",
        description="Lists all keys, wherever they are kept; neither keys nor their hashes.",
    )
    listing.set_defaults(command=run_list)
    home.add_dir(listing)
    _add_namespace(listing, "only those that are kept there (default: all, and the file's)")
    _add_output(listing, ("table", "json"), "table")
    delete = steps.add_parser(
        "delete",
        help="take keys back",
        description="Deletes keys by name, wherever they are kept: from then on they open nothing.",
    )
    delete.set_defaults(command=run_delete)
    delete.add_argument("names", nargs="+", metavar="NAME")
    home.add_dir(delete)
    _add_namespace(delete, "only one that is kept there")
    delete.add_argument("--file", action="store_true", help="only one that is kept in the file")


def _add_namespace(parser: argparse.ArgumentParser, help_: str) -> None:
    parser.add_argument("-n", "--namespace", help=help_)


def _add_output(parser: argparse.ArgumentParser, choices: tuple[str, str], default: str) -> None:
    parser.add_argument(
        "-o",
        "--output",
        choices=choices,
        default=default,
        help=f"json: for programs (default {default})",
    )


def run_create(options: argparse.Namespace) -> int:
    """Makes one and prints it: data on stdout is the key alone."""
    from modelport.cli import kept_keys

    if not NAME.fullmatch(options.name) or len(options.name) > LONGEST_NAME:
        raise Mistake(
            f"NAME: must be small letters, digits, - and ., {LONGEST_NAME} at most, got {options.name!r}",
            "as in: modelport keys create team-a --predict iris",
        )
    now = datetime.now(UTC).replace(microsecond=0)
    scopes = _scopes(options)
    expires = None if options.expires is None else _end(options.expires, now)
    key = f"mp_{secrets.token_hex(BYTES)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    folder = home.folder(options)
    made = kept_keys.Key(
        name=options.name,
        scopes=scopes,
        namespace=None if options.file else _place(scopes),
        made=now,
        expires=expires,
    )
    home.settings(options)
    first = not kept_keys.asks_for_keys(folder)
    if options.file:
        kept_keys.add_to_file(folder, made, digest)
    else:
        home.speak(options, lambda client: _create(client, folder, made, digest))
    if options.output == "json":
        print(documents.encode(made.plain() | {"key": key}))
    else:
        print(key)
    note(f"\n{made.name}: {made.words}{_until(made)}. The key is shown this once; only its hash is kept.")
    if first:
        note("From now on every request needs a key or a token.")
    if not kept_keys.await_in_force(folder, digest, IN_FORCE_S):
        note("warning: it is not in force yet: modelport status says whether control and gateway run")
    note("Ask with it: modelport predict SERVICE --key KEY · curl -H 'Authorization: Bearer KEY' …")
    return 0


async def _create(client: Client, folder: Folder, made: Key, digest: str) -> None:
    """In a Secret. Tells of services that are not there: a typing error opens nothing."""
    from modelport.cli import kept_keys
    from modelport.kinds.inferenceservice import INFERENCE_SERVICE

    known = await kept_keys.in_secrets(client)
    if any(one.name == made.name for one in [*known, *kept_keys.in_file(folder)]):
        raise Mistake(
            f"there is a key {made.name!r} already",
            f"another name, or first: modelport keys delete {made.name}",
            code=1,
        )
    await kept_keys.create(client, made, digest)
    for service in sorted({scope.partition(":")[2] for scope in made.scopes}):
        namespace, _, name = service.partition("/")
        if name != "*" and await client.find(INFERENCE_SERVICE, namespace, name) is None:
            note(f"warning: there is no InferenceService {service} yet")


def run_list(options: argparse.Namespace) -> int:
    """Prints them."""
    from modelport.cli import kept_keys

    folder = home.folder(options)
    found = home.speak(options, kept_keys.in_secrets)
    found = [one for one in found if options.namespace in (None, one.namespace)]
    found += kept_keys.in_file(folder) if options.namespace is None else []
    if options.output == "json":
        print(documents.encode({"keys": [one.plain() for one in found]}))
        return 0
    rows = [
        [
            one.name,
            one.kept_in,
            one.words,
            age(one.made.isoformat()) if one.made else "?",
            _end_words(one, datetime.now(UTC)),
        ]
        for one in found
    ]
    if not rows:
        note("No keys. modelport keys create NAME makes one.")
        return 0
    home.table(["NAME", "KEPT IN", "MAY", "AGE", "EXPIRES"], rows)
    return 0


def run_delete(options: argparse.Namespace) -> int:
    """Deletes them; exit code 1 where one is not there, or the name is of several."""
    from modelport.cli import kept_keys

    folder = home.folder(options)
    home.settings(options)
    failed, gone = 0, list[str]()

    async def delete(client: Client | None) -> None:
        nonlocal failed
        known = await kept_keys.in_secrets(client) if client is not None else []
        known += kept_keys.in_file(folder)
        for name in options.names:
            fitting = [one for one in known if one.name == name and _is_meant(one, options)]
            if len(fitting) != 1:
                failed += 1
                note(f"error: {_not_one(name, fitting)}")
                continue
            gone.append(await kept_keys.delete(client, folder, fitting[0]))
            known.remove(fitting[0])
            print(f"key {name} deleted")
        if client is not None and gone and not known:
            note(_none_left(folder))

    if options.file:
        import asyncio

        asyncio.run(delete(None))
    else:
        home.speak(options, delete)
    for digest in filter(None, gone):
        if not kept_keys.await_in_force(folder, digest, IN_FORCE_S, known=False):
            note("warning: a key may still open: modelport status says whether control and gateway run")
            break
    return 1 if failed else 0


def _is_meant(one: Key, options: argparse.Namespace) -> bool:
    if options.file:
        return one.namespace is None
    return options.namespace in (None, one.namespace)


def _not_one(name: str, fitting: list[Key]) -> str:
    if not fitting:
        return f"there is no key {name!r}\n\nhint: those that are there: modelport keys list"
    places = " and ".join(one.kept_in for one in fitting)
    return f"there are {len(fitting)} keys {name!r}, kept in {places}\n\nhint: give -n NAMESPACE, or --file"


def _none_left(folder: Folder) -> str:
    if folder.key_file.exists():
        return f"No key is left. As long as {folder.key_file} is there, requests need one."
    settings = folder.settings()
    if settings is not None and settings.require_keys:
        return "No key is left: nobody may ask until there is one."
    return "warning: no key is left: unless tokens are asked for, whoever reaches the gateway may ask"


def _scopes(options: argparse.Namespace) -> list[str]:
    """As in `predict:default/iris`."""
    if options.all_namespaces and options.namespace:
        raise Mistake("-A and -n: choose one")
    own = "*" if options.all_namespaces else options.namespace or "default"
    wanted: list[tuple[str, str]] = []
    for verb in ("predict", "explain"):
        wanted += [(verb, _service(service, own, verb)) for service in getattr(options, verb)]
    if not wanted:
        wanted = [("predict", f"{own}/*"), ("explain", f"{own}/*")]
    if options.admin:
        wanted += [("admin", service) for service in dict.fromkeys(service for _, service in wanted)]
    return [f"{verb}:{service}" for verb, service in dict.fromkeys(wanted)]


def _service(word: str, namespace: str, flag: str) -> str:
    if not SERVICE.fullmatch(word) or (namespace == "*" and "/" not in word and word != "*"):
        raise Mistake(
            f"--{flag}: must be a service's NAME, NAMESPACE/NAME or '*', got {word!r}",
            f"as in: --{flag} iris --{flag} other/churn",
        )
    return word if "/" in word else f"{namespace}/{word}"


def _place(scopes: list[str]) -> str:
    """The namespace of the Secret: its services' own; only the platform's may name several."""
    from modelport.local.gateway.auth import PLATFORM_NAMESPACE

    namespaces = {scope.partition(":")[2].partition("/")[0] for scope in scopes}
    only = namespaces.pop() if len(namespaces) == 1 else "*"
    return PLATFORM_NAMESPACE if only == "*" else only


def _end(text: str, now: datetime) -> datetime:
    found: datetime | None = None
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if match:
        found = now + timedelta(seconds=int(match[1]) * UNITS[match[2]])
    else:
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            found = None
        if found is not None and found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
    if found is None or found <= now:
        raise Mistake(
            f"--expires: must be a time to come, as 12h, 30d, 4w or 2027-01-31, got {text!r}",
            "as in: --expires 30d",
        )
    return found.astimezone(UTC).replace(microsecond=0)


def _until(made: Key) -> str:
    return f", until {made.expires:%Y-%m-%d %H:%M} UTC" if made.expires else ""


def _end_words(one: Key, now: datetime) -> str:
    if one.expires is None:
        return "never"
    return "has ended" if one.expires <= now else f"{one.expires:%Y-%m-%d %H:%M}"
