"""Looking at all objects of a kind whenever one of them has changed: the server's own small loops."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from modelport.kube.resource import Resource
from modelport.local.apiserver.api import Api
from modelport.local.apiserver.fanout import CutOff, Ended

log = logging.getLogger(__name__)
AGAIN_S = 0.2
"""How soon they are looked at again while a round says that something is under way."""


async def whenever_changed(
    api: Api, resource: Resource, look: Callable[[Api], Awaitable[bool]], *, check_s: float
) -> None:
    """One round at once, and one after each change, until cancelled. `check_s`: how soon, whatever the watch says."""
    while True:
        watcher, _ = await api.store.watch(resource.qualified, api.store.version)
        try:
            while True:
                busy = await look(api)
                await watcher.take(AGAIN_S if busy else check_s)
        except CutOff:
            log.debug("%s: the watch was cut off; looking at all of them again", resource.plural)
        except Ended:
            return
        finally:
            watcher.close()
