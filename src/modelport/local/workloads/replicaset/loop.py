"""The loop of ReplicaSets."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from datetime import datetime

from modelport.control.cache import Cache, Change, Key, key_of
from modelport.control.events import record
from modelport.control.queue import Queue
from modelport.kube.client import Client
from modelport.kube.condition import is_true
from modelport.kube.errors import ApiError
from modelport.kube.meta import controller_of
from modelport.kube.name import generated_name
from modelport.kube.resource import REPLICA_SET, Object
from modelport.kube.selector import from_object
from modelport.local.workloads.claim import candidates, carry_out, claim
from modelport.local.workloads.moment import soonest, utc_now
from modelport.local.workloads.part import namespace_of, part
from modelport.local.workloads.replicaset.decide import Plan, again_s, decide, new_pod, status
from modelport.local.workloads.view import View

log = logging.getLogger(__name__)
WORKERS = 4
COMPONENT = "replicaset-controller"
AT_ONCE = 16
"""Most pods created at the same time. The first try is one alone: what is refused is refused once, not often."""


class ReplicaSets:
    """Keeps as many pods as each ReplicaSet asks for."""

    def __init__(
        self,
        client: Client,
        replica_sets: View,
        pods: View,
        accounts: Cache,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client, self._now = client, now
        self._replica_sets, self._pods = replica_sets, pods
        self._random = random.Random()  # noqa: S311 - names, not secrets
        self.queue: Queue[Key] = Queue()
        replica_sets.cache.subscribe(lambda change: self.queue.add(key_of(change.object)))
        pods.cache.subscribe(self._on_pod)
        accounts.subscribe(self._on_account)

    async def run(self) -> None:
        """Works until cancelled."""
        await asyncio.gather(*(self.queue.work(self.reconcile) for _ in range(WORKERS)))

    def _on_pod(self, change: Change) -> None:
        where = namespace_of(change.object)
        for pod in (change.old, change.new):
            owner = controller_of(pod) if pod else None
            if owner is not None and owner["kind"] == REPLICA_SET.kind:
                self.queue.add((where, owner["name"]))
        if change.new is not None and controller_of(change.new) is None:
            labels = change.new["metadata"].get("labels")
            for replica_set in self._replica_sets.all(where):
                if from_object(replica_set["spec"].get("selector")).matches(labels):
                    self.queue.add(key_of(replica_set))

    def _on_account(self, change: Change) -> None:
        """A ServiceAccount that was missing may be what pods were refused for: they are not to wait for a back-off."""
        for replica_set in self._replica_sets.all(namespace_of(change.object)):
            if is_true(replica_set, "ReplicaFailure"):
                self.queue.add(key_of(replica_set))

    async def reconcile(self, key: Key) -> float | None:
        """Looks at one ReplicaSet."""
        await self._replica_sets.settle()
        await self._pods.settle()
        replica_set = self._replica_sets.get(*key)
        if replica_set is None:
            return None
        selector = from_object(replica_set["spec"].get("selector"))
        found = claim(replica_set, selector, candidates(self._pods, replica_set))
        pods = await carry_out(self._client, REPLICA_SET, replica_set, found, self._pods)
        plan = decide(replica_set, pods)
        done: list[tuple[str, str]] = []
        refused = await self._carry_out(replica_set, plan, done)
        if plan.create or plan.delete:
            pods = self._pods.by("controller", replica_set["metadata"]["uid"])
        await self._tell(replica_set, pods, plan, refused)
        for reason, message in done:
            await self._record(replica_set, "Normal", reason, message)
        if refused is not None:
            reason = "FailedCreate" if plan.create else "FailedDelete"
            await self._record(replica_set, "Warning", reason, refused.message)
            raise refused
        return soonest(again_s(replica_set, pods, self._now()), self._pods.check_in_s)

    async def _record(self, replica_set: Object, kind: str, reason: str, message: str) -> None:
        await record(self._client, replica_set, kind, reason, message, self._now(), COMPONENT)

    async def _carry_out(
        self, replica_set: Object, plan: Plan, done: list[tuple[str, str]]
    ) -> ApiError | None:
        """Creates and deletes; adds to `done` what events are to say. Returns the first refusal."""
        left, batch = plan.create, 1
        while left > 0:
            answers = await asyncio.gather(
                *(self._create(replica_set) for _ in range(min(batch, left))), return_exceptions=True
            )
            done += [("SuccessfulCreate", f"Created pod: {one}") for one in answers if isinstance(one, str)]
            refused = _first_error(answers)
            if refused is not None:
                return refused
            left -= batch
            batch = min(batch * 2, AT_ONCE)
        for pod in plan.delete:
            try:
                await self._pods.delete(pod)
            except ApiError as error:
                return error
            done.append(("SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}"))
        return None

    async def _create(self, replica_set: Object) -> str:
        """Creates one pod. Returns its name."""
        prefix = f"{replica_set['metadata']['name']}-"
        while True:
            name = generated_name(prefix, self._random)
            try:
                await self._pods.create(new_pod(replica_set, name))
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    continue
                # The condition's words must not change with every try, or each would cause the next.
                error.message = error.message.replace(name, f"{prefix}…")
                raise
            return name

    async def _tell(
        self, replica_set: Object, pods: Sequence[Object], plan: Plan, refused: ApiError | None
    ) -> None:
        reason = "FailedCreate" if plan.create else "FailedDelete"
        failure = (reason, refused.message) if refused else None
        said = status(replica_set, pods, failure, self._now())
        if said == part(replica_set, "status"):
            return
        try:
            await self._replica_sets.replace(replica_set | {"status": said}, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise


def _first_error(answers: Sequence[str | BaseException]) -> ApiError | None:
    """The first refusal; errors of other kinds are raised."""
    for answer in answers:
        if isinstance(answer, ApiError):
            return answer
        if isinstance(answer, BaseException):
            raise answer
    return None
