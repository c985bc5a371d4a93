"""`modelport doctor`: what this machine has, what it lacks, and the line that mends it."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import socket
import sys
from typing import TYPE_CHECKING

import msgspec

from modelport.cli import colour, home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelport.cli import Commands
    from modelport.local.folder import Folder

LEAST_FREE_BYTES = 1 << 30
FRAMEWORKS = {
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "onnx": "onnxruntime",
    "torch": "torch",
}
"""Extras, and the module that each brings."""


class Finding(msgspec.Struct):
    """One thing looked at."""

    state: str
    """`ok`, `note` (something is not possible here) or `bad` (the platform does not work)."""
    what: str
    hint: str = ""


def register(commands: Commands) -> None:
    """Adds the command."""
    doctor = commands.add_parser(
        "doctor",
        help="what is missing on this machine",
        description="Looks at this machine: Python, frameworks, kernel, disk, ports, the platform in --dir.",
    )
    doctor.set_defaults(command=run)
    home.add_dir(doctor)


def run(options: argparse.Namespace) -> int:
    """Prints the findings; exit code 1 where one is bad."""
    findings = list(look(home.folder(options)))
    for finding in findings:
        print(f"{colour.state(f'{finding.state:<5}')}{finding.what}")
        if finding.hint and finding.state != "ok":
            print(f"       {finding.hint}")
    return 1 if any(finding.state == "bad" for finding in findings) else 0


def look(folder: Folder) -> Iterator[Finding]:
    """Everything, one by one."""
    yield Finding("ok", f"Python {sys.version.split()[0]}, {sys.platform}, {os.cpu_count()} cores")
    if sys.platform != "linux":
        yield Finding(
            "bad",
            f"the platform needs Linux, this is {sys.platform}",
            "`modelport serve` works; a cluster, too",
        )
        return
    for extra, module in FRAMEWORKS.items():
        if importlib.util.find_spec(module) is None:
            yield Finding("note", f"{extra}: not installed", f"pip install 'modelport[{extra}]'")
        else:
            yield Finding("ok", f"{extra}: installed")
    yield _loopback()
    yield _namespaces()
    yield _environments()
    yield _disk(folder)
    yield from _platform(folder)


def _loopback() -> Finding:
    """Pods need addresses of their own in 127.0.0.0/8."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.99.0.1", 0))
        except OSError as error:
            return Finding(
                "bad",
                f"127.99.0.1 cannot be bound: {error.strerror}",
                "bring the loopback up: ip link set lo up",
            )
    return Finding("ok", "loopback addresses for pods")


def _namespaces() -> Finding:
    from modelport.local.node import namespaces

    what = "network and mount namespaces for custom containers"
    found = namespaces.find()
    if found.kind:
        return Finding("ok", what + (", in a user namespace" if found.kind == "user" else ""))
    return Finding(
        "note",
        f"no {what}: {found.missing}",
        "custom containers must then bind the address in $POD_IP; or allow user namespaces: "
        "sysctl kernel.unprivileged_userns_clone=1 (Debian), kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), "
        "user.max_user_namespaces=10000 (RHEL)",
    )


def _environments() -> Finding:
    if shutil.which("uv") or importlib.util.find_spec("uv"):
        return Finding("ok", "uv, for models with a requirements.txt of their own")
    return Finding(
        "note",
        "uv: not installed; environments for requirements.txt are built by pip, slowly",
        "pip install uv",
    )


def _disk(folder: Folder) -> Finding:
    place = folder.path
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Finding("bad", f"{place}: cannot be written", "choose another folder: --dir DIR")
    if free < LEAST_FREE_BYTES:
        return Finding(
            "bad", f"{place}: only {free / 1e6:.0f} MB free", "modelport storage prune, or another --dir"
        )
    return Finding("ok", f"{place}: {free / 1e9:.0f} GB free")


def _platform(folder: Folder) -> Iterator[Finding]:
    from modelport.cli.status import SHOWN, problems, processes, services

    try:
        settings = folder.settings()
    except ValueError as error:
        yield Finding("bad", str(error))
        return
    if settings is None:
        yield Finding("note", f"no platform in {folder.path} yet", "modelport up --detach")
        return
    running = {line.role for line in processes(folder)}
    for role in ("supervisor", "control", "node", "gateway"):
        if role in running:
            yield Finding("ok", f"{role} runs")
        else:
            yield Finding("note", f"{role} does not run", "modelport up --detach")
    for problem in problems(folder):
        yield Finding("note", problem)
    ill = services(folder) if "control" in running else []
    for one in ill[:SHOWN]:
        where = one["name"] if one["namespace"] == "default" else f"{one['name']} -n {one['namespace']}"
        yield Finding(
            "note",
            f"service {one['namespace']}/{one['name']}: {one['problem']}",
            f"modelport describe {where}",
        )
    if len(ill) > SHOWN:
        yield Finding("note", f"{len(ill) - SHOWN} more services are not well", "modelport get isvc -A")
    if "gateway" not in running:
        with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, settings.gateway_port))
            except OSError as error:
                yield Finding(
                    "bad",
                    f"port {settings.gateway_port} on {settings.host}: {error.strerror}",
                    "stop what listens there, or: modelport up --port N",
                )
