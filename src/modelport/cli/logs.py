"""`modelport logs`: what a service's pods, or a pod, have written."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from modelport.cli import Mistake, home, naming
from modelport.cli.home import note

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from modelport.cli import Commands
    from modelport.kube.client import Client
    from modelport.kube.resource import Object


def register(commands: Commands) -> None:
    """Adds the command."""
    logs = commands.add_parser(
        "logs",
        help="what pods have written",
        description="Prints logs: modelport logs NAME (a service) or pod/NAME",
    )
    logs.set_defaults(command=run)
    home.add_dir(logs)
    home.add_namespace(logs)
    logs.add_argument("what", type=naming.given, metavar="NAME | pod/NAME")
    logs.add_argument("-c", "--container", metavar="NAME", help="default: each")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until interrupted")
    logs.add_argument("--tail", type=int, metavar="N", help="only the last N lines")
    logs.add_argument(
        "-p", "--previous", action="store_true", help="of the container before the last restart"
    )


def run(options: argparse.Namespace) -> int:
    """Prints them, each line with its pod where there are several."""
    resource, name = (
        naming.targets([options.what])[0] if "/" in options.what else (naming.find("isvc")[0], options.what)
    )
    if resource.kind not in ("Pod", "InferenceService"):
        raise Mistake(f"{options.what}: a {resource.kind} has no logs", "a service's name, or pod/NAME")

    async def show(client: Client) -> int:
        from modelport.kube.resource import POD

        if resource.kind == "Pod":
            pods = [await client.get(POD, options.namespace, name)]
        else:
            await client.get(resource, options.namespace, name)
            labels = f"serving.kserve.io/inferenceservice={name}"
            pods = (await client.list(POD, options.namespace, labels=labels)).items
        sources = [
            (pod, container["name"])
            for pod in pods
            for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
            if options.container in (None, container["name"])
            and (options.container or container["name"] != "storage-initializer")
        ]
        if not sources:
            note(
                f"No pods of {options.what}."
                if not pods
                else f"No container {options.container!r} in its pods. There are: {', '.join(_containers(pods))}."
            )
            return 1
        tasks = [
            _one(client, pod, container, options, several=len(sources) > 1) for pod, container in sources
        ]
        return max(await asyncio.gather(*tasks))

    return home.speak(options, show)


def _containers(pods: list[Object]) -> list[str]:
    specs = [pod["spec"] for pod in pods]
    return sorted(
        {one["name"] for spec in specs for one in spec.get("initContainers", []) + spec["containers"]}
    )


async def _one(
    client: Client, pod: Object, container: str, options: argparse.Namespace, *, several: bool
) -> int:
    from modelport.kube.errors import ApiError

    name = pod["metadata"]["name"]
    params = {"container": container}
    params |= {"previous": "true"} if options.previous else {}
    params |= {"tailLines": str(options.tail)} if options.tail is not None else {}
    prefix = f"[{name}/{container}] " if several else ""
    try:
        lines = (
            _follow(client, pod, params) if options.follow else client.log(options.namespace, name, params)
        )
        async for line in lines:
            print(f"{prefix}{line}", flush=True)
    except ApiError as error:
        note(f"{name}/{container}: {error.message}")
        return 1
    return 0


async def _follow(client: Client, pod: Object, params: dict[str, str]) -> AsyncIterator[str]:
    """A container's lines until it ends: an API server that is killed is back in a second, and what was written
    meanwhile is told. No line is lost; of equal ones that were written at one moment, some may come twice."""
    from modelport.cli.patience import Patience
    from modelport.kube.client import Unreachable
    from modelport.kube.errors import ApiError
    from modelport.kube.resource import POD

    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    asked = params | {"follow": "true", "timestamps": "true"}
    runs = _runs(pod, params["container"])
    since = ""
    last: list[str] = []
    """What was told with the stamp `since`."""
    patience = Patience()
    while True:
        told, first = list(last), ""
        try:
            if patience.away:
                now = _runs(await client.get(POD, namespace, name), params["container"])
                told, runs = told if now == runs else [], now
                patience.answered()
            async for stamped in client.log(namespace, name, asked):
                stamp, _, line = stamped.partition(" ")
                first = first or stamp
                if told and stamp == first:
                    # Asked again: it begins with the lines that were noted together with the last one that was told.
                    if line == told[0]:
                        del told[0]
                    continue
                told = []
                since, last = stamp, [*(last if stamp == since else ()), line]
                yield line
            return
        except (Unreachable, ApiError) as error:
            if since:
                asked.pop("tailLines", None)
                asked["sinceTime"] = since
            await patience.bear(error)


def _runs(pod: Object, container: str) -> int:
    """How often a container was started anew."""
    statuses: list[Object] = pod.get("status", {}).get("containerStatuses", [])
    return next((one.get("restartCount", 0) for one in statuses if one["name"] == container), 0)
