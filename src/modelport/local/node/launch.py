"""How a container becomes a process: command, environment, folder. Pure but for looking where things lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from modelport.kube.part import objects, texts
from modelport.kube.resource import Object
from modelport.local.folder import Settings
from modelport.local.node import image, volumes
from modelport.local.node.variables import expand
from modelport.wire.fork import TERMINATION_LOG, Start


class NotPossible(Exception):
    """The container cannot run as it is. The message says what is missing and what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Launch(msgspec.Struct, kw_only=True):
    """A process to start."""

    python: str
    """The interpreter whose fork server starts it."""
    start: Start
    termination_log: Path
    mounted: list[tuple[str, Path, bool]]
    """What it should see where: path in the container, place, read only."""
    models: frozenset[str] = frozenset()
    """Paths in the container where a model lies that was fetched: always a folder, also around a single file."""
    own: bool


def plan(
    pod: Object,
    container: Object,
    variables: dict[str, str],
    places: dict[str, Path],
    fetched: dict[str, Path],
    folder: Path,
    ip: str,
    settings: Settings,
    python: str,
) -> Launch:
    """The process for a container, by an interpreter. Raises NotPossible, Missing."""
    own = image.is_own(container)
    try:
        mounted = volumes.mounts(container, places, variables)
    except OSError as error:
        raise NotPossible("CreateContainerConfigError", f"container {container['name']}: {error}") from error
    # What was fetched lies in the cache; the volume that would have taken it is only its name.
    known = {
        target: path for target, path in fetched.items() if sees(target, [mount for mount, _, _ in mounted])
    }
    mounted = sorted(
        [
            *((target, path, True) for target, path in known.items()),
            *(one for one in mounted if one[0] not in known),
        ],
        key=lambda one: len(one[0]),
        reverse=True,
    )
    termination_log = folder / "termination-log"
    full = environment(pod, variables, ip, settings, python)
    full[TERMINATION_LOG] = str(termination_log)
    words = [
        expand(str(word), full)
        for word in [*(texts(container.get("command"))), *(texts(container.get("args")))]
    ]
    if own:
        words = [volumes.rewrite(word, mounted) for word in words]
        full = {name: volumes.rewrite(value, mounted) for name, value in full.items()}
        words += ["--host", ip]
    elif words and words[0] in ("python", "python3") and python != sys.executable:
        words[0] = python
    work = container.get("workingDir") or str(folder)
    work = volumes.rewrite(str(work), mounted)
    Path(folder).mkdir(parents=True, exist_ok=True)
    if not Path(work).is_dir():
        raise NotPossible(
            "CreateContainerConfigError",
            f"container {container['name']}: workingDir {work}: no such folder on this machine. Make it, or leave it out.",
        )
    start = Start(
        arguments=words,
        serve=own,
        title=str(pod["metadata"]["name"])[:15],
        environment=full,
        folder=work,
    )
    return Launch(
        python=python,
        start=start,
        termination_log=termination_log,
        mounted=mounted,
        models=frozenset(known),
        own=own,
    )


def sees(target: str, mounted: list[str]) -> bool:
    """Whether a container with these mounts sees a folder that was fetched."""
    return any(
        target == mount or target.startswith(f"{mount}/") or mount.startswith(f"{target}/")
        for mount in mounted
    )


KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def environment(
    pod: Object, variables: dict[str, str], ip: str, settings: Settings, python: str
) -> dict[str, str]:
    """What a process finds: a little of this machine's, the pod's own facts, and the container's."""
    base = {name: os.environ[name] for name in KEPT if name in os.environ}
    folder = str(Path(python).parent)
    base["PATH"] = f"{folder}:{base.get('PATH', '/usr/bin:/bin')}"
    base["HOSTNAME"] = pod["metadata"]["name"]
    base["POD_IP"] = ip
    base["PYTHONUNBUFFERED"] = "1"
    base["MODELPORT_GATEWAY"] = "{}:{}".format(*settings.internal)
    cpu = _threads(pod)
    if cpu:
        base["OMP_NUM_THREADS"] = cpu
    return base | variables


def _threads(pod: Object) -> str:
    from modelport.kube.quantity import to_cores

    for container in objects(pod["spec"]["containers"]):
        limit = container.get("resources", {}).get("limits", {}).get("cpu")
        if limit is not None:
            return str(max(1, round(to_cores(limit))))
    return ""
