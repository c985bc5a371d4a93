"""How a command is run in a pod that runs: the environment that its container has, beside its process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from modelport.kube.errors import bad_request
from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object
from modelport.local.apiserver.execution import Execution, Find
from modelport.local.folder import Folder, Settings

ENTER = Path(__file__).with_name("enter.py")


def execution(
    pod: Object, container: str, command: Sequence[str], find: Find, settings: Settings, folder: Folder
) -> Execution:
    """The command's process. ApiError 400 where the container does not run."""
    # Late: only who asks for it pays for it.
    from modelport.local.node import launch, record
    from modelport.local.node.variables import Missing, environment

    meta, ip = pod["metadata"], pod["status"].get("podIP", "")
    name = meta["name"]
    pid = _pid(pod, container)
    if pid is None:
        raise bad_request(f'container "{container}" of pod "{name}" does not run')
    spec = pod["spec"]
    everything = [*objects(spec.get("initContainers")), *spec["containers"]]
    given = next(one for one in everything if one["name"] == container)
    try:
        variables = environment(pod, given, find)
    except Missing as error:
        raise bad_request(str(error)) from error
    kept = record.load(folder.pod(meta["namespace"], name, meta["uid"]))
    python = kept.pythons.get(container) if kept is not None else None
    full = {"TERM": "xterm"} | launch.environment(pod, variables, ip, settings, python or sys.executable)
    return Execution(
        arguments=[sys.executable, "-I", "-S", str(ENTER), str(pid), *command],
        terminal_arguments=[sys.executable, "-I", "-S", str(ENTER), "--tty", str(pid), *command],
        environment=full | _own(pid, ip),
    )


def _pid(pod: Object, container: str) -> int | None:
    status = mapping(pod.get("status"))
    for one in [*objects(status.get("containerStatuses")), *objects(status.get("initContainerStatuses"))]:
        if one["name"] == container and "running" in mapping(one.get("state")):
            kind, _, number = str(one.get("containerID") or "").partition("://")
            return int(number) if kind == "process" and number.isdecimal() else None
    return None


def _own(pid: int, ip: str) -> dict[str, str]:
    """What the process itself began with; not that of a fork, which still shows its fork server's."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    found = dict(
        line.decode(errors="surrogateescape").split("=", 1) for line in content.split(b"\0") if b"=" in line
    )
    return found if ip and found.get("POD_IP") == ip else {}
