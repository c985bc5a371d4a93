"""Models that change behind an address that stays the same: looked for now and then, where a service asks for that.

An unchanged model costs a conditional request. A changed one is fetched into the cache; only then the Deployment's
template is marked with what was found, so that new pods replace the old ones as with any other change, and a model
that does not load never takes a good one away.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from modelport.control import events
from modelport.kube.client import Unreachable
from modelport.kube.errors import ApiError
from modelport.kube.meta import controller_of
from modelport.kube.part import mapping, objects, texts
from modelport.kube.resource import DEPLOYMENT, REPLICA_SET, Object
from modelport.local.node import image, interpreter, volumes
from modelport.local.node.fetching import FetchFailed, initialize
from modelport.local.node.record import Record
from modelport.local.node.variables import Missing, environment

if TYPE_CHECKING:
    from modelport.local.node.agent import Node

log = logging.getLogger(__name__)
EVERY = "serving.modelport.io/storage-poll"
"""Annotation: how often, as in `30s`, `5m`, `1h`; `off`: never, whatever the platform's configuration says."""
FOUND = "serving.modelport.io/storage-found"
"""Annotation of the pod template: the mark of what was found last to have changed."""
NEVER = "off"
LEAST_S = 5.0
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def interval_s(text: str) -> float:
    """Seconds between two looks. Raises ValueError, with words."""
    given = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if given is None:
        raise ValueError(
            f"annotation {EVERY}: {text!r} is no interval. Write a number and a unit, as in 5m or 1h; "
            "until then the model is not looked at again."
        )
    seconds = float(given[1]) * UNITS[given[2]]
    if seconds < LEAST_S:
        raise ValueError(
            f"annotation {EVERY}: {text!r} is too often for a store. Give {LEAST_S:.0f}s or more; "
            "until then the model is not looked at again."
        )
    return seconds


def mark(arguments: Sequence[str], digests: Mapping[str, str]) -> str:
    """What the initializer of a pod was asked for and what it found, as one digest."""
    lines = "\n".join([*arguments, *(f"{target} {digest}" for target, digest in sorted(digests.items()))])
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


async def follow(node: Node, record: Record) -> None:
    """Looks for changes as long as the pod runs, if it asks for that."""
    found = (one for one in objects(record.pod["spec"].get("initContainers")) if image.is_initializer(one))
    container = next(found, None)
    if container is None:
        return
    text = mapping(record.pod["metadata"].get("annotations")).get(EVERY)
    if text is None:
        with contextlib.suppress(FetchFailed):  # told where the model is fetched
            text = (await node.storage_rules()).poll
    if not text or text == NEVER:
        return
    try:
        pause_s = interval_s(text)
    except ValueError as error:
        await interpreter.tell(node, record, "Warning", "StoragePollRefused", str(error))
        return
    while True:
        await asyncio.sleep(pause_s)
        if not node.leads(record):
            continue  # one of the replicas is enough
        try:
            await look(node, record, container)
        except (FetchFailed, Missing) as error:
            message = f"the model cannot be looked at again: {error} What was fetched keeps serving."
            await interpreter.tell(node, record, "Warning", "StoragePollFailed", message)
        except (ApiError, Unreachable) as error:
            log.warning("pod %s: looking for a changed model: %s", record.name, error)
        except Exception:  # the pod serves on, whatever this is
            log.exception("pod %s: looking for a changed model", record.name)


async def look(node: Node, record: Record, container: Object) -> None:
    """Fetches what has changed, and has it rolled out. Raises FetchFailed, Missing, ApiError, Unreachable."""
    pod = record.pod
    find = await node.finder(pod)
    found = await initialize(
        container,
        environment(pod, container, find),
        pod,
        find,
        await node.storage_rules(),
        node.cache,
        lambda claim: volumes.claim_folder(node.folder.volumes, record.kept.namespace, claim),
        record.folder,
        lambda words: log.debug("pod %s: %s", record.name, words),
        lambda progress: None,
    )
    digests = {target: one.digest for target, one in found.items()}
    if digests == record.kept.digests:
        return
    deployment = await _deployment(node, pod)
    if deployment is None:
        return
    arguments = texts(container.get("args"))
    now = mark(arguments, digests)
    meta, template = deployment["metadata"], deployment["spec"]["template"]
    if mapping(template["metadata"].get("annotations")).get(FOUND) == now:
        return  # on its way, or tried in vain
    change: Object = {"spec": {"template": {"metadata": {"annotations": {FOUND: now}}}}}
    await node.client.patch(
        DEPLOYMENT, meta["namespace"], meta["name"], change, field_manager="modelport-storage"
    )
    owner = controller_of(deployment)
    about = deployment if owner is None else owner | {"metadata": owner | {"namespace": meta["namespace"]}}
    words = f"{', '.join(arguments[::2])} is now {', '.join(digests.values())}: rolled out as a change"
    await events.record(
        node.client, about, "Normal", "ModelChanged", words, datetime.now(UTC), interpreter.COMPONENT
    )


async def _deployment(node: Node, pod: Object) -> Object | None:
    namespace = pod["metadata"]["namespace"]
    above = controller_of(pod)
    if above is None or above["kind"] != REPLICA_SET.kind:
        return None
    replica_set = await node.client.find(REPLICA_SET, namespace, above["name"])
    above = controller_of(replica_set) if replica_set is not None else None
    if above is None or above["kind"] != DEPLOYMENT.kind:
        return None
    return await node.client.find(DEPLOYMENT, namespace, above["name"])
