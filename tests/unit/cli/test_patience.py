"""What commands do that go on while the API server is killed and back."""

from __future__ import annotations

import asyncio

import pytest

from modelport.cli import waiting
from modelport.cli.patience import Patience
from modelport.kube.client import Unreachable
from modelport.kube.errors import ApiError
from modelport.kube.resource import POD

AWAY = "the platform does not answer: waiting for it"


def test_each_time_that_the_platform_is_away_is_told_once(capsys):
    """Lost otherwise: who waits sees nothing of the second time, or a line for every try."""

    async def scene() -> list[int]:
        patience, told = Patience(), []
        for answers in (False, False, True, False):
            if answers:
                patience.answered()
            else:
                await patience.bear(Unreachable("refused"))
            told.append(capsys.readouterr().err.count(AWAY))
        return told

    assert asyncio.run(scene()) == [1, 0, 0, 1]


def test_what_another_try_would_not_help_is_not_waited_for(capsys):
    with pytest.raises(ApiError, match="no such pod"):
        asyncio.run(Patience().bear(ApiError(404, "NotFound", "no such pod")))
    assert capsys.readouterr().err == ""


class Crowded:
    """A client of an API server on which too much happens: each watch from before is refused."""

    def __init__(self) -> None:
        self.listed = 0

    async def list(self, *_, **__):
        self.listed += 1
        item = {"metadata": {"name": "x", "resourceVersion": str(self.listed)}}
        return type("Listing", (), {"items": [item], "resource_version": str(self.listed)})

    async def watch(self, *_, **__):
        raise ApiError(410, "Expired", "too old resource version")
        yield


def test_a_watch_that_is_too_old_begins_anew_and_blames_nobody(capsys):
    client = Crowded()
    assert asyncio.run(
        waiting.until(
            client, POD, "default", "x", lambda item: item["metadata"]["resourceVersion"] == "3", 60
        )
    )
    assert (client.listed, capsys.readouterr().err) == (3, "")
