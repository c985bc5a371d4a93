"""How a command is run in a pod that runs: the environment that its container has, beside its process."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from modelport.kube.errors import bad_request
from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object
from modelport.local.apiserver.execution import Execution, Find
from modelport.local.folder import Settings

ENTER = Path(__file__).with_name("enter.py")
PYTHON = "serving.modelport.io/python"
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER")


def execution(
    pod: Object, container: str, command: Sequence[str], find: Find, settings: Settings
) -> Execution:
    """The command's process. ApiError 400 where the container does not run."""
    # Late: only who asks for it pays for it.
    from modelport.local.node.variables import Missing, environment

    name = pod["metadata"]["name"]
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
    full = _surroundings(pod, settings) | variables
    return Execution(
        arguments=[sys.executable, "-I", "-S", str(ENTER), str(pid), *command],
        terminal_arguments=[sys.executable, "-I", "-S", str(ENTER), "--tty", str(pid), *command],
        environment=full | _own(pid, full.get("POD_IP", "")),
    )


def _surroundings(pod: Object, settings: Settings) -> dict[str, str]:
    """What every container of the pod finds: a little of this machine's, and the pod's own facts."""
    base = {name: os.environ[name] for name in KEPT if name in os.environ}
    given = mapping(pod["metadata"].get("annotations")).get(PYTHON)
    python = Path(given or sys.executable)
    folder = python / "bin" if python.is_dir() else python.parent
    return base | {
        "PATH": f"{folder}:{base.get('PATH', '/usr/bin:/bin')}",
        "HOSTNAME": pod["metadata"]["name"],
        "POD_IP": pod["status"].get("podIP", ""),
        "MODELPORT_GATEWAY": f"{settings.pod_network}.0.1:{settings.gateway_port}",
        "TERM": "xterm",
    }


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
