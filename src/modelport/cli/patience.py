"""For commands that go on while the API server is killed and back, which takes a second."""

from __future__ import annotations

import asyncio
from typing import Final

from modelport.cli.home import note

AGAIN_S: Final = 0.5
"""Between two tries."""


class Patience:
    """Waits for an API server that does not answer, and says so once a time that it is away."""

    def __init__(self) -> None:
        self.away = False
        """It did not answer the last time."""

    def answered(self) -> None:
        """It is there, or back."""
        self.away = False

    async def bear(self, error: Exception) -> None:
        """Returns when it is worth another try; raises what that would not help."""
        from modelport.kube.errors import ApiError

        if isinstance(error, ApiError) and error.code < 500:
            raise error
        if not self.away:
            note("the platform does not answer: waiting for it")
        self.away = True
        await asyncio.sleep(AGAIN_S)
