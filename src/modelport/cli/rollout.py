"""`modelport rollout`: how a change goes, which versions there were, and the way back."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from modelport.cli import Mistake, home, naming, waiting
from modelport.cli.deploy import failed, ready
from modelport.cli.describe import problems
from modelport.cli.events import age
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.client import Client
    from modelport.kube.resource import Object


def register(commands: Commands) -> None:
    """Adds the command."""
    rollout = commands.add_parser(
        "rollout",
        help="how a change goes, and the way back",
        description="Follows a change of a service, or undoes it.",
    )
    steps = rollout.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for verb, act, words in (
        ("status", _status, "wait until the newest spec serves, or cannot"),
        ("history", _history, "list the specs that there were"),
        ("undo", _undo, "bring the previous spec that was Ready back"),
    ):
        step = steps.add_parser(verb, help=words, description=words.capitalize() + ".")
        step.set_defaults(command=act)
        home.add_dir(step)
        home.add_namespace(step)
        step.add_argument("name", type=naming.given, metavar="NAME", help="an InferenceService")
        if verb == "status":
            step.add_argument("--timeout", type=home.seconds, default=300.0, metavar="S", help="default 300")
        if verb == "undo":
            step.add_argument("--to", type=int, metavar="REVISION", help="one of `rollout history`")


def _status(options: argparse.Namespace) -> int:
    async def follow(client: Client) -> int:
        from modelport.kinds.inferenceservice import INFERENCE_SERVICE

        last: list[Object | None] = [None]
        await client.get(INFERENCE_SERVICE, options.namespace, options.name)
        done = await waiting.until(
            client,
            INFERENCE_SERVICE,
            options.namespace,
            options.name,
            lambda state: ready(state) or failed(state),
            options.timeout,
            lambda state: last.append(state),
        )
        state = last[-1]
        if ready(state):
            print(f"{options.name}: the newest spec serves")
            return 0
        for problem in problems(state or {}):
            note(f"error: {problem}")
        if not done:
            note(f"error: {options.name}: not settled after {options.timeout:.0f} s")
        return 1

    return home.speak(options, follow)


def _history(options: argparse.Namespace) -> int:
    async def show(client: Client) -> int:
        from modelport.control import history

        found = await history.history(client, options.namespace, options.name)
        print(f"{'REVISION':<10}{'AGE':<8}{'READY':<8}MODEL")
        for revision in found:
            was = "yes" if revision.ready_at else "never"
            print(f"{revision.number:<10}{age(revision.created_at):<8}{was:<8}{revision.summary}")
        return 0

    return home.speak(options, show)


def _undo(options: argparse.Namespace) -> int:
    async def undo(client: Client) -> int:
        from modelport.control import history

        try:
            revision = await history.undo(client, options.namespace, options.name, options.to)
        except history.NoRevision as error:
            raise Mistake(
                str(error), f"modelport rollout history {options.name}{home.flags(options)}"
            ) from error
        print(f"{options.name}: back to revision {revision.number} ({revision.summary})")
        note(f"\nNext: modelport rollout status {options.name}{home.flags(options)}")
        return 0

    return home.speak(options, undo)
