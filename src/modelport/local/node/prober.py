"""Probes over time: when they are made, and what their answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from modelport.kube.resource import Object
from modelport.local.node import probe

EAGER_S, EAGER_FOR_S = 0.02, 10.0
"""Before the first success a probe is made so often for so long, so that readiness is noticed at once."""
SLOW_S = 0.25


class Prober:
    """The three probes of one run of a container."""

    def __init__(
        self,
        container: Object,
        address: str,
        environment: dict[str, str],
        *,
        is_ready: Callable[[bool], None],
        is_started: Callable[[], None],
    ) -> None:
        self._container = container
        self._address = address
        self._environment = environment
        self._is_ready = is_ready
        self._is_started = is_started
        self.failure = ""
        """What a liveness or startup probe said last."""

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
        return await probe.ask(given, self._container, self._address, self._environment)

    async def _start_up(self, given: Object) -> bool:
        await asyncio.sleep(float(given.get("initialDelaySeconds") or 0))
        began = asyncio.get_running_loop().time()
        period_s = float(given.get("periodSeconds") or 10)
        allowed_s = period_s * int(given.get("failureThreshold") or 3)
        while True:
            failure = await self._ask(given)
            if failure is None:
                return True
            self.failure = f"startup: {failure}"
            spent_s = asyncio.get_running_loop().time() - began
            if spent_s > allowed_s:
                return False
            await asyncio.sleep(EAGER_S if spent_s < EAGER_FOR_S else min(period_s, SLOW_S))

    async def _readiness(self, given: Object | None) -> None:
        if given is None:
            self._is_ready(True)
            await asyncio.Event().wait()
            return
        await asyncio.sleep(float(given.get("initialDelaySeconds") or 0))
        began = asyncio.get_running_loop().time()
        period_s = float(given.get("periodSeconds") or 10)
        good = bad = 0
        ready = ever = False
        while True:
            failure = await self._ask(given)
            good, bad = (good + 1, 0) if failure is None else (0, bad + 1)
            if not ready and good >= int(given.get("successThreshold") or 1):
                ready = ever = True
                self._is_ready(True)
            elif ready and bad >= int(given.get("failureThreshold") or 3):
                ready = False
                self._is_ready(False)
            if ever:
                await asyncio.sleep(period_s if ready else min(period_s, 1.0))
            else:
                spent_s = asyncio.get_running_loop().time() - began
                await asyncio.sleep(EAGER_S if spent_s < EAGER_FOR_S else min(period_s, SLOW_S))

    async def _liveness(self, given: Object) -> None:
        await asyncio.sleep(float(given.get("initialDelaySeconds") or 0))
        bad = 0
        while True:
            failure = await self._ask(given)
            bad = 0 if failure is None else bad + 1
            if failure is not None:
                self.failure = failure
            if bad >= int(given.get("failureThreshold") or 3):
                return
            await asyncio.sleep(float(given.get("periodSeconds") or 10))
