"""`modelport deploy`: a model file or URI onto the platform, as an InferenceService that is printed first."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.cli import Mistake, colour, documents, home, naming, route, waiting
from modelport.cli.apply import MANAGER
from modelport.cli.describe import problems
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.client import Client
    from modelport.kube.resource import Object

FORMATS = {
    ".joblib": "sklearn",
    ".pkl": "sklearn",
    ".pickle": "sklearn",
    ".skops": "sklearn",
    ".ubj": "xgboost",
    ".cbm": "catboost",
    ".onnx": "onnx",
    ".pt": "pytorch",
    ".pt2": "pytorch",
}
"""What an ending alone tells of a URI; a file on this machine is looked into."""
V2_ONLY = {"onnx"}


def register(commands: Commands) -> None:
    """Adds the command."""
    deploy = commands.add_parser(
        "deploy",
        help="put a model file or URI onto the platform",
        description="Writes an InferenceService for a model, prints it, applies it and waits until it is Ready.",
    )
    deploy.set_defaults(command=run)
    home.add_dir(deploy)
    home.add_namespace(deploy)
    deploy.add_argument("model", type=naming.given, metavar="PATH_OR_URI")
    deploy.add_argument("--name", help="the service's name (default: the file's or folder's)")
    deploy.add_argument("--format", metavar="NAME", help="model format, where the file does not tell")
    deploy.add_argument(
        "--runtime", metavar="NAME", help="a ServingRuntime by name (default: chosen by format)"
    )
    deploy.add_argument("--replicas", type=int, metavar="N", help="processes that serve it (default 1)")
    deploy.add_argument("--dry-run", action="store_true", help="only print what would be applied")
    deploy.add_argument(
        "-o",
        "--output",
        choices=("yaml", "json"),
        default="yaml",
        help="how the object is printed (default yaml)",
    )
    deploy.add_argument("--no-wait", action="store_true", help="return once it is applied")
    deploy.add_argument(
        "--timeout", type=home.seconds, default=300.0, metavar="S", help="longest wait (default 300)"
    )


def run(options: argparse.Namespace) -> int:
    """Applies it; exit code 1 where it does not get Ready."""
    item = service(options)
    text = documents.encode(item) if options.output == "json" else documents.dump(item)
    if options.dry_run:
        print(text.rstrip())
        return 0
    settings = home.settings(options)
    print(text.rstrip() + "\n")
    sys.stdout.flush()

    async def deploy(client: Client) -> int:
        import asyncio

        from modelport.kinds.inferenceservice import INFERENCE_SERVICE

        began = time.monotonic()
        applied = await client.apply(INFERENCE_SERVICE, item, field_manager=MANAGER, force=True)
        name, namespace = applied["metadata"]["name"], applied["metadata"]["namespace"]
        here = home.flags(options)
        if options.no_wait:
            note(f"applied; its state: modelport describe {name}{here}")
            return 0
        progress = Progress()
        last: list[Object | None] = [None]

        def see(state: Object | None) -> None:
            last.append(state)
            progress.show(state)

        def settled(state: Object | None) -> bool:
            return ready(state) or failed(state)

        done = await waiting.until(client, INFERENCE_SERVICE, namespace, name, settled, options.timeout, see)
        state = last[-1]
        if not ready(state):
            for problem in problems(state or {})[:3]:
                note(f"error: {problem}")
            if not done:
                note(f"error: {name} is not Ready after {options.timeout:.0f} s")
            note(f"\nhint: modelport describe {name}{here}")
            return 1
        # The state may be of a time before the platform was killed: Ready is what answers.
        until = began + options.timeout
        said = await asyncio.to_thread(
            route.silence, state or {}, settings, os.environ.get("MODELPORT_KEY"), until
        )
        if said is not None:
            note(
                f"error: {name} is Ready, but {said}\n\nhint: modelport status{home.dir_flag(options)} · modelport describe {name}{here}"
            )
            return 1
        note(f"{colour.paint('Ready', 'good', sys.stderr)} in {time.monotonic() - began:.1f} s")
        print(await route.address(client, state or {}, settings))
        note(f"\nNext: modelport predict {name}{here}")
        return 0

    return home.speak(options, deploy)


def ready(state: Object | None) -> bool:
    """Whether the newest spec serves."""
    model = (state or {}).get("status", {}).get("modelStatus", {})
    return waiting.holds(state, "Ready") and model.get("transitionStatus", "UpToDate") == "UpToDate"


def failed(state: Object | None) -> bool:
    """Whether the newest spec cannot serve."""
    if state is None:
        return True
    status = state.get("status", {})
    if status.get("observedGeneration", 0) < state["metadata"].get("generation", 0):
        return False
    return status.get("modelStatus", {}).get("transitionStatus") in ("BlockedByFailedLoad", "InvalidSpec")


class Progress:
    """One line a step, on standard error, only when it changes."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, state: Object | None) -> None:
        """Says how far it is."""
        model = (state or {}).get("status", {}).get("modelStatus", {})
        step = model.get("states", {}).get("targetModelState") or model.get("states", {}).get(
            "activeModelState"
        )
        if step and step != self._last:
            self._last = step
            note(f"… {step}")


def service(options: argparse.Namespace) -> Object:
    """The InferenceService for what was named."""
    uri, path = _uri(options.model)
    model_format = options.format or _format(options.model, path)
    model: Object = {"modelFormat": {"name": model_format}, "storageUri": uri}
    if options.runtime:
        model["runtime"] = options.runtime
    if model_format in V2_ONLY:
        model["protocolVersion"] = "v2"
    predictor: Object = {"model": model}
    if options.replicas is not None:
        if options.replicas < 1:
            raise Mistake(f"--replicas: must be at least 1, got {options.replicas}")
        predictor["minReplicas"] = options.replicas
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": options.name or _name(options.model), "namespace": options.namespace},
        "spec": {"predictor": predictor},
    }


def _uri(given: str) -> tuple[str, Path | None]:
    if "://" in given and not given.startswith("file://"):
        return given, None
    path = Path(given.removeprefix("file://")).expanduser().absolute()
    file, colon, _ = given.rpartition(":")
    if path.suffix == ".py" or (colon and file.endswith(".py")):
        raise Mistake(
            f"{given}: deploy takes models in files, not Python classes",
            f"modelport serve {given} serves it alone; on the platform it is a container with a command: "
            "docs/how-to/custom-containers.md",
        )
    if not path.exists():
        raise Mistake(f"{given}: no such file or folder")
    return path.as_uri() if path.as_uri().isascii() and "%" not in path.as_uri() else f"file://{path}", path


def _format(given: str, path: Path | None) -> str:
    if path is not None:
        from modelport.runtimes import catalog
        from modelport.server.runtime import LoadError

        try:
            runtime, _ = catalog.locate(path)
        except catalog.UnreadableError as error:
            raise Mistake(str(error)) from error
        except LoadError as error:
            raise Mistake(str(error), "name the model's file, or its format: --format sklearn") from error
        found = next((entry.name for entry in catalog.RUNTIMES if entry.attribute == runtime.__name__), None)
        if found is not None:
            return found
    ending = Path(given).suffix.lower()
    if ending in FORMATS:
        return FORMATS[ending]
    raise Mistake(f"{given}: its name does not tell its format", "give it: --format sklearn")


def _name(given: str) -> str:
    """A service's name out of a path: lower case, digits and dashes, beginning with a letter."""
    last = given.rstrip("/").rpartition("/")[2].partition("?")[0]
    stem = last.partition(".")[0] if not last.startswith(".") else last.strip(".")
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:50].rstrip("-")
    if not name or not name[0].isalpha():
        raise Mistake(f"{given}: no name for a service can be made of it", "give one: --name churn")
    return name
