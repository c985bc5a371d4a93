"""`modelport status`: the platform's processes and what they use; what it cannot read, and which services are not well."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

import msgspec

from modelport.cli import colour, home

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.resource import Object
    from modelport.local.folder import Folder
    from modelport.local.process import Process

SHOWN = 20
"""Services that are not well; a machine may hold thousands."""
FULL = "the disk that holds {} is full: nothing can be changed, models go on serving · next: free some space there"
API_S = 3.0
"""So long does the API server have to tell of services."""


class Line(msgspec.Struct, omit_defaults=True):
    """One process."""

    role: str
    pid: int
    memory_bytes: int | None
    """Its proportional share (PSS), children that are no pods of their own included."""
    name: str = ""


def register(commands: Commands) -> None:
    """Adds the command."""
    status = commands.add_parser(
        "status",
        help="the platform's processes and what they use",
        description="Lists the platform's processes: supervisor, control, node, gateway, fork servers and pods; what of its"
        " keys and issuers cannot be read; and which services are not well, and why.",
    )
    status.set_defaults(command=run)
    home.add_dir(status)
    status.add_argument(
        "-o",
        "--output",
        choices=("table", "json"),
        default="table",
        help="json: for programs (default table)",
    )


def run(options: argparse.Namespace) -> int:
    """Prints them; exit code 1 where one of the platform's own is missing, 2 where there never was a platform."""
    settings = home.settings(options)
    folder = home.folder(options)
    lines = processes(folder)
    missing = [
        role
        for role in ("supervisor", "control", "node", "gateway")
        if all(line.role != role for line in lines)
    ]
    total = sum(line.memory_bytes or 0 for line in lines)
    full = [FULL.format(folder.path)] if home.is_full(folder) else []
    told = [*full, *problems(folder)]
    ill = services(folder) if "control" not in missing else []
    if options.output == "json":
        report = {
            "dir": str(folder.path),
            "gateway": home.with_port(settings.host, settings.gateway_port),
            "api": f"127.0.0.1:{settings.api_port}",
            "running": not missing,
            "missing": missing,
            "memory_bytes": total,
            "problems": told,
            "services": ill,
            "processes": [msgspec.to_builtins(line) for line in lines],
        }
        json.dump(report, sys.stdout, indent=1)
        print()
        return 1 if missing else 0
    if not lines:
        home.note(f"The platform in {folder.path} is stopped.")
        for problem in full:
            home.note(f"problem: {problem}")
        home.note(f"\nhint: start it: modelport up --detach{home.dir_flag(options)}")
        return 1
    print(f"{'ROLE':<12}{'PID':>8}{'MEMORY':>11}  NAME")
    for line in lines:
        memory = "-" if line.memory_bytes is None else f"{line.memory_bytes / 1e6:.1f} MB"
        print(f"{line.role:<12}{line.pid:>8}{memory:>11}  {line.name}".rstrip())
    print(f"{'total':<12}{'':>8}{total / 1e6:>8.1f} MB")
    for problem in told:
        home.note(f"problem: {problem}")
    for one in ill[:SHOWN]:
        home.note(f"problem: service {one['namespace']}/{one['name']}: {one['problem']}")
    if len(ill) > SHOWN:
        home.note(f"problem: {len(ill) - SHOWN} more services: modelport get isvc -A")
    if ill:
        home.note("\nhint: modelport describe NAME shows conditions, pods and events")
    for role in missing:
        home.note(f"{role}: {colour.paint('not running', 'bad', sys.stderr)}{last_words(folder, role)}")
    if missing:
        home.note("\nhint: modelport up --detach starts what is missing; what runs goes on")
    return 1 if missing else 0


def problems(folder: Folder) -> list[str]:
    """What of keys, issuers and settings the control plane cannot read, as it has written it down."""
    try:
        found = msgspec.json.decode(folder.problems.read_bytes(), type=dict[str, list[str]])
    except (OSError, msgspec.DecodeError):
        return []
    return found.get("problems", [])


def last_words(folder: Folder, role: str) -> str:
    """Why a program ended, where it said so at its end."""
    try:
        lines = (folder.logs / f"{role}.log").read_text(errors="replace").rstrip().splitlines()
    except OSError:
        return ""
    before, error, words = lines[-1].partition(" ERROR ") if lines else ("", "", "")
    return f" since {before}: {words.partition(': ')[2]}" if error else ""


def services(folder: Folder) -> list[dict[str, str]]:
    """The services that are not as their specs say, each with what describe tells first. None where the API does not
    answer at once: the processes are told all the same."""
    import asyncio

    from modelport.kinds.inferenceservice import INFERENCE_SERVICE
    from modelport.kube.client import Client, Unreachable
    from modelport.kube.errors import ApiError

    async def ask() -> list[Object]:
        async with Client.from_kubeconfig(folder.kubeconfig, timeout_s=API_S) as client:
            return (await client.list(INFERENCE_SERVICE)).items

    try:
        items = asyncio.run(ask())
    except (ApiError, Unreachable):
        return []
    return unwell(items)


def unwell(items: list[Object]) -> list[dict[str, str]]:
    """Those that are not as their specs say. One that its owner has stopped is."""
    from modelport.cli.describe import problems as of_service
    from modelport.kube.condition import is_true

    found: list[dict[str, str]] = []
    for item in items:
        told = of_service(item)
        if told and not is_true(item, "Stopped"):
            found.append(
                {
                    "namespace": item["metadata"]["namespace"],
                    "name": item["metadata"]["name"],
                    "problem": told[0],
                }
            )
    return found


def processes(folder: Folder) -> list[Line]:
    """Those that run now, by what each wrote down; read from disk, so that it works with a dead API server."""
    from modelport.local import process

    lines: list[Line] = []
    pods = _pods(folder)
    own = {found.pid for _, found in pods}
    roles = [(role, folder.run / f"{role}.json") for role in ("supervisor", "control", "node", "gateway")]
    roles += [("forkserver", path) for path in sorted(folder.run.glob("forkserver-*.json"))]
    servers: list[tuple[str, Process]] = []
    for role, path in roles:
        found = process.read(path)
        if found is not None and found.alive:
            servers.append((role, found))
    own |= {found.pid for _, found in servers}
    for role, found in servers:
        lines.append(Line(role, found.pid, _memory(found.pid, own)))
    for name, found in pods:
        lines.append(Line("pod", found.pid, _memory(found.pid, own), name))
    return lines


def _memory(pid: int, others: set[int]) -> int | None:
    """A process's and its descendants', except those that have a line of their own, and theirs."""
    from modelport.local.process import Process, descendants

    found = Process.of(pid)
    if found is None or (own := found.memory_bytes()) is None:
        return None
    below = [Process.of(child) for child in descendants(pid, stop=others)]
    return own + sum(child.memory_bytes() or 0 for child in below if child is not None)


def _pods(folder: Folder) -> list[tuple[str, Process]]:
    from modelport.local.process import Process

    found: list[tuple[str, Process]] = []
    for path in sorted(folder.pods.glob("*/state.json")):
        try:
            state = msgspec.json.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError):
            continue
        for container, about in state.get("containers", {}).items():
            if not about.get("pid"):
                continue
            process = Process(about["pid"], about["start"])
            if process.alive:
                found.append((f"{state['namespace']}/{state['name']}/{container}", process))
    return found
