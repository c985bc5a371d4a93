"""Probes over time: when they are made, and what their answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from modelport.kube.resource import Object
from modelport.local.node import listener, probe

EAGER_S, EAGER_FOR_S = 0.02, 10.0
"""Before the first success a probe is made so often for so long, so that readiness is noticed at once."""
SLOW_S = 0.25
PATIENT_S = 3.0
"""A server that starts may refuse its readiness probe for so long before it is told."""
REFUSED = "readiness probe failed: "
"""Before what the probe gets."""
STRANGE_S = 1.0
"""The same for a stranger's answer, which no waiting makes the server's."""
UNREADY_S = 1.0
"""So often at least one is asked that was ready and is no longer."""


class Tally:
    """Answers counted against a probe's thresholds: what they say now. Pure."""

    def __init__(self, given: Object, *, holds: bool) -> None:
        """`holds`: what is believed before the first answer."""
        self.holds = holds
        self._successes = int(given.get("successThreshold") or 1)
        self._failures = int(given.get("failureThreshold") or 3)
        self._good = self._bad = 0

    def count(self, *, good: bool) -> bool:
        """Counts an answer; whether what is believed has changed by it."""
        self._good, self._bad = (self._good + 1, 0) if good else (0, self._bad + 1)
        now = self._bad < self._failures if self.holds else self._good >= self._successes
        changed, self.holds = now != self.holds, now
        return changed


def pause_s(given: Object, *, ever: bool, holds: bool, spent_s: float) -> float:
    """How long to wait before the next try. `ever`: whether it has succeeded once; `spent_s`: since the first try.

    Kubernetes asks once a period; here a server that starts is asked eagerly, for its start takes milliseconds.
    """
    period_s = float(given.get("periodSeconds") or 10)
    if holds:
        return period_s
    if ever:
        return min(period_s, UNREADY_S)
    return EAGER_S if spent_s < EAGER_FOR_S else min(period_s, SLOW_S)


def start_limit_s(given: Object) -> float:
    """How long a startup probe may fail: its period times its failures, however often it is made here."""
    return float(given.get("periodSeconds") or 10) * int(given.get("failureThreshold") or 3)


class Prober:
    """The three probes of one run of a container."""

    def __init__(
        self,
        container: Object,
        address: str,
        environment: dict[str, str],
        pid: int,
        *,
        is_ready: Callable[[bool], None],
        is_started: Callable[[], None],
        is_unready: Callable[[str], Awaitable[None]],
        stranger: Callable[[int], str | None] = lambda port: None,
    ) -> None:
        """`is_unready` is told once what a readiness probe gets that fails for long. `stranger` says who else than the
        pod answers at one of its ports; it may block."""
        self._container = container
        self._address = address
        self._environment = environment
        self._pid = pid
        self._is_ready = is_ready
        self._is_started = is_started
        self._is_unready = is_unready
        self._stranger = stranger
        self.failure = ""
        """Which probe failed, and what it said last."""
        self.grace_s: float | None = None
        """How long the container has to end after that, where the probe says so itself."""

    async def run(self) -> None:
        """Probes until the container must be restarted; cancelled when it ends."""
        startup = self._container.get("startupProbe")
        if startup is not None and not await self._start_up(startup):
            return
        self._is_started()
        readiness = asyncio.create_task(self._readiness(self._container.get("readinessProbe")))
        try:
            liveness = self._container.get("livenessProbe")
            if liveness is None:
                await readiness
            else:
                await self._liveness(liveness)
        finally:
            readiness.cancel()

    async def _ask(self, given: Object) -> str | None:
        return await probe.ask(given, self._container, self._address, self._environment, self._pid)

    async def _start_up(self, given: Object) -> bool:
        await asyncio.sleep(float(given.get("initialDelaySeconds") or 0))
        began = asyncio.get_running_loop().time()
        while True:
            failure = await self._ask(given)
            if failure is None:
                return True
            spent_s = asyncio.get_running_loop().time() - began
            if spent_s > start_limit_s(given):
                self._give_up(given, f"startup probe: {failure}")
                return False
            await asyncio.sleep(pause_s(given, ever=False, holds=False, spent_s=spent_s))

    def _give_up(self, given: Object, failure: str) -> None:
        own = given.get("terminationGracePeriodSeconds")
        self.failure, self.grace_s = failure, None if own is None else float(own)

    async def _readiness(self, given: Object | None) -> None:
        if given is None:
            self._is_ready(True)
            await asyncio.Event().wait()
            return
        await asyncio.sleep(float(given.get("initialDelaySeconds") or 0))
        began = asyncio.get_running_loop().time()
        tally = Tally(given, holds=False)
        ever, told = False, ""
        while True:
            failure, about = await self._ask(given), REFUSED
            if failure is None and not tally.holds:
                failure, about = await self._strange(given), ""
            if tally.count(good=failure is None):
                ever = True
                self._is_ready(tally.holds)
                told = ""
            spent_s = asyncio.get_running_loop().time() - began
            untold = failure is not None and not tally.holds and told != (about or failure)
            if untold and spent_s > (PATIENT_S if about else STRANGE_S):
                told = about or str(failure)
                await self._is_unready(f"{about}{failure}{await self._instead(given, str(failure))}")
            await asyncio.sleep(pause_s(given, ever=ever, holds=tally.holds, spent_s=spent_s))

    async def _instead(self, given: Object, failure: str) -> str:
        """Where the container listens, if nobody does at its own port that is asked. Looked for once, not at every try."""
        if not failure.startswith(probe.NOBODY) or probe.port_asked(given, self._container) is None:
            return ""
        return await asyncio.to_thread(listener.where_instead, self._pid)

    async def _strange(self, given: Object) -> str | None:
        """Who else than the pod has given a probe's good answer."""
        port = probe.port_asked(given, self._container)
        return None if port is None else await asyncio.to_thread(self._stranger, port)

    async def _liveness(self, given: Object) -> None:
        await asyncio.sleep(float(given.get("initialDelaySeconds") or 0))
        tally = Tally(given, holds=True)
        while True:
            failure = await self._ask(given)
            tally.count(good=failure is None)
            if not tally.holds:
                self._give_up(given, f"liveness probe: {failure}")
                return
            await asyncio.sleep(float(given.get("periodSeconds") or 10))
