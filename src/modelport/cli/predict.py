"""`modelport predict` and `modelport explain`: one request to a service, through the gateway."""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, Any

from modelport.cli import Mistake, by_grpc, home, naming, route
from modelport.cli import body as given_body
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.client import Client
    from modelport.kube.resource import Object
    from modelport.local.folder import Settings

KEY = "--key KEY, or MODELPORT_KEY in the environment"


def register(commands: Commands) -> None:
    """Adds both commands."""
    for verb, words in (
        ("predict", "ask a service for predictions"),
        ("explain", "ask a service for an explanation"),
    ):
        command = commands.add_parser(
            verb, help=words, description=f"{words.capitalize()}, through the gateway."
        )
        command.set_defaults(command=run, verb=verb)
        home.add_dir(command)
        home.add_namespace(command)
        command.add_argument("name", type=naming.given, metavar="NAME", help="an InferenceService")
        command.add_argument(
            "-d",
            "--data",
            metavar=given_body.METAVAR,
            help="the body, or - for standard input (default: the model's example; without one, zeros)",
        )
        command.add_argument(
            "--protocol",
            choices=("v1", "v2", "grpc"),
            help="default: by the body; without one v1 (explain: v1)",
        )
        command.add_argument(
            "--model", metavar="NAME", help="the model's name, where it is not the service's"
        )
        command.add_argument(
            "--key", default=os.environ.get("MODELPORT_KEY"), help="API key (also: MODELPORT_KEY)"
        )


def run(options: argparse.Namespace) -> int:
    """Asks, and prints the answer; exit code 1 for an answer that is an error."""
    from modelport.kinds.inferenceservice import INFERENCE_SERVICE

    async def find(client: Client) -> tuple[Object, str | None]:
        found = await client.get(INFERENCE_SERVICE, options.namespace, options.name)
        return found, await route.own_host(client, found) if options.protocol == "grpc" else None

    if options.key and not (options.key.isascii() and options.key.isprintable()):
        raise Mistake("--key: holds characters that no key has", "was it copied whole, without a line's end?")
    settings = home.settings(options)
    item, own_host = home.speak(options, find)
    model = options.model or options.name
    body = None if options.data is None else given_body.read(options.data)
    protocol = options.protocol or ("v2" if isinstance(body, dict) and "inputs" in body else "v1")
    path = f"/v1/models/{model}:{options.verb}" if protocol == "v1" else f"/v2/models/{model}/infer"
    if options.verb == "explain" and protocol != "v1":
        raise Mistake("--protocol: explanations are asked for by v1")
    if body is None:
        body = _example(item, settings, path, model, options.key)
        # Without a saved example it is made of the signature: zeros, and "text".
        note(f"asked with {_short(body)}")
    if protocol == "grpc":
        print(json.dumps(by_grpc.ask(item, own_host, settings, model, body, options.key)))
        return 0
    answer = route.ask(item, settings, "POST", path, body, options.key)
    text = answer.body.decode(errors="replace")
    if answer.status >= 400:
        note(f"error: {answer.status}: {_words(text)}")
        if answer.status == 401:
            note(f"\nhint: {KEY}")
        elif answer.status in (404, 503):
            note(f"\nhint: modelport describe {options.name}{home.flags(options)}")
        return 1
    print(text)
    return 0


def _example(item: Object, settings: Settings, path: str, model: str, key: str | None) -> Any:
    answer = route.ask(item, settings, "GET", "/openapi.json", key=key)
    name = item["metadata"]["name"]
    if answer.status == 401:
        raise Mistake(f"401: {_words(answer.body.decode(errors='replace'))}", KEY, code=1)
    if answer.status != 200:
        raise Mistake(
            f"{name} gives no example ({answer.status}: {_words(answer.body.decode(errors='replace'))})",
            "give a body: -d request.json",
        )
    try:
        paths = json.loads(answer.body)["paths"]
    except (ValueError, KeyError) as error:
        raise Mistake(f"{name} has no example", "give a body: -d request.json") from error
    # Of a server of ours, whose paths are of its models; others write one path for all.
    served = sorted({one.split("/")[3] for one in paths if one.startswith("/v2/models/") and "{" not in one})
    if served and model not in served:
        raise Mistake(f"{name} serves no model {model!r}", f"there are: {', '.join(served)}", code=1)
    if served and path not in paths:
        raise Mistake(f"{name} explains nothing", "give it an explainer, or a model that explains", code=1)
    try:
        operation = paths[path]["post"]
        return operation["requestBody"]["content"]["application/json"]["example"]
    except (ValueError, KeyError) as error:
        raise Mistake(f"{name} has no example", "give a body: -d request.json") from error


def _words(text: str) -> str:
    try:
        answer = json.loads(text)
    except ValueError:
        return text[:500]
    return str(answer.get("error", answer)) if isinstance(answer, dict) else text[:500]  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def _short(body: Any, most: int = 200) -> str:
    text = json.dumps(body)
    return text if len(text) <= most else text[:most] + " …"
