"""pods/log: all of it, its end, what is new, and the words where there is none."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from apiserver_api import Api, good, pod, refused, wait_until

from modelport.local.apiserver.log_file import BLOCK, LogFile, time_of

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def running(api: Api) -> Any:
    """A pod whose log the tests write."""
    api.create("pods", pod())
    folder = api.server.folder / "pods" / f"{api.namespace}_web" / "main"
    folder.mkdir(parents=True)
    return folder


def log(api: Api, **params: Any) -> httpx.Response:
    return api.http.get(api.path("pods", "web/log"), params=params)


def tell(api: Api, **state: Any) -> None:
    status = {"phase": "Running", "containerStatuses": [{"name": "main", "state": state, "ready": True}]}
    media = {"Content-Type": "application/merge-patch+json"}
    good(api.http.patch(api.path("pods", "web/status"), json={"status": status}, headers=media))


def test_a_log_is_read_whole_or_in_part(api: Api, running: Path) -> None:
    (running / "0.log").write_text("one\ntwo\nthree\n")
    assert log(api).text == "one\ntwo\nthree\n"
    assert log(api, tailLines=2).text == "two\nthree\n"
    assert log(api, tailLines=0).text == ""
    assert log(api, tailLines=99).text == "one\ntwo\nthree\n"
    assert log(api, limitBytes=5).text == "one\nt"
    assert log(api, tailLines=2, limitBytes=3).text == "two"
    assert log(api, container="main").headers["Content-Type"].startswith("text/plain")


def test_a_line_that_has_no_end_yet_counts(api: Api, running: Path) -> None:
    (running / "0.log").write_text("one\ntwo")
    assert log(api, tailLines=1).text == "two"
    assert log(api, timestamps="true").text.splitlines()[1].endswith(" two")


def test_the_run_before_the_restart_is_kept(api: Api, running: Path) -> None:
    (running / "0.log").write_text("first run\n")
    refused(log(api, previous="true"), 400, "BadRequest")
    (running / "1.log").write_text("second run\n")
    assert log(api).text == "second run\n"
    assert log(api, previous="true").text == "first run\n"


def test_a_container_is_found_or_asked_for(api: Api) -> None:
    containers = [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]
    api.create("pods", pod(containers=containers, initContainers=[{"name": "first", "image": "x"}]))
    assert "choose one of: [first a b]" in refused(log(api), 400, "BadRequest")["message"]
    assert (
        "container c is not valid for pod web"
        in refused(log(api, container="c"), 400, "BadRequest")["message"]
    )
    status = refused(log(api, container="a"), 400, "BadRequest")
    assert status["message"] == 'container "a" in pod "web" is waiting to start: ContainerCreating'
    api.patch("pods", "web", {"metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "b"}}})
    assert 'container "b" in pod "web"' in refused(log(api), 400, "BadRequest")["message"]
    refused(api.http.get(api.path("pods", "absent/log")), 404, "NotFound")


def test_why_a_container_waits_is_said(api: Api, running: Path) -> None:
    tell(api, waiting={"reason": "ImagePullBackOff"})
    assert refused(log(api), 400, "BadRequest")["message"].endswith("is waiting to start: ImagePullBackOff")


class Follower:
    """Reads a log as it grows, in a thread."""

    def __init__(self, api: Api, **params: Any) -> None:
        self.text = ""
        self.ended = threading.Event()
        self._started = threading.Event()
        self._api, self._params = api, params
        threading.Thread(target=self._run, daemon=True).start()
        assert self._started.wait(10)

    def _run(self) -> None:
        with self._api.server.client() as http:
            path = self._api.path("pods", "web/log")
            with http.stream("GET", path, params={"follow": "true"} | self._params) as answer:
                self._started.set()
                for text in answer.iter_text():
                    self.text += text
        self.ended.set()


def test_a_log_is_followed_until_its_container_ends(api: Api, running: Path) -> None:
    path = running / "0.log"
    path.write_text("one\ntwo\n")
    tell(api, running={"startedAt": "2026-01-01T00:00:00Z"})
    follower = Follower(api, tailLines=1)
    wait_until(lambda: follower.text == "two\n")
    with path.open("a") as file:
        file.write("three\n")
        file.flush()
        wait_until(lambda: follower.text == "two\nthree\n")
        assert not follower.ended.is_set()
        file.write("last words\n")
    tell(api, terminated={"exitCode": 0})
    assert follower.ended.wait(10)
    assert follower.text == "two\nthree\nlast words\n"


def test_a_log_is_followed_from_before_its_container_starts(api: Api, running: Path) -> None:
    follower = Follower(api)
    (running / "0.log").write_text("hello\n")
    wait_until(lambda: follower.text == "hello\n")
    good(api.delete("pods", "web", {"gracePeriodSeconds": 0}))
    assert follower.ended.wait(10), "the pod is gone"


def test_following_ends_with_the_run(api: Api, running: Path) -> None:
    """As kubectl: the log of the next run is another one."""
    (running / "0.log").write_text("first\n")
    tell(api, running={})
    follower = Follower(api)
    wait_until(lambda: follower.text == "first\n")
    (running / "1.log").write_text("second\n")
    tell(api, running={"startedAt": "2026-01-02T00:00:00Z"})
    assert follower.ended.wait(10)
    assert follower.text == "first\n"


def test_a_rotated_log_is_followed_on(api: Api, running: Path) -> None:
    path = running / "0.log"
    path.write_text("before\n")
    tell(api, running={})
    follower = Follower(api)
    wait_until(lambda: follower.text == "before\n")
    path.rename(running / "0.log.1")
    path.write_text("after\n")
    wait_until(lambda: follower.text == "before\nafter\n")
    path.write_text("x\n")  # cut short and written anew
    wait_until(lambda: follower.text == "before\nafter\nx\n")
    tell(api, terminated={"exitCode": 0})
    assert follower.ended.wait(10)


@pytest.mark.parametrize(
    "params",
    [{"tailLines": "-1"}, {"sinceTime": "noon"}, {"sinceSeconds": "1", "sinceTime": "2026-01-01T00:00:00Z"}],
    ids=str,
)
def test_parameters_that_make_no_sense_are_refused(api: Api, running: Path, params: dict[str, str]) -> None:
    (running / "0.log").write_text("x\n")
    refused(log(api, **params), 400, "BadRequest")


def test_times_come_from_the_lines_themselves(api: Api, running: Path) -> None:
    tell(api, running={"startedAt": "2026-01-01T00:00:00Z"})
    (running / "0.log").write_text("hello\n2026-01-01T00:00:05.25Z up\n  detail\n")
    assert log(api, timestamps="true").text.splitlines() == [
        "2026-01-01T00:00:00.000000Z hello",
        "2026-01-01T00:00:05.250000Z 2026-01-01T00:00:05.25Z up",
        "2026-01-01T00:00:05.250000Z   detail",
    ]


def test_since_shows_what_may_be_younger_and_hides_what_is_older(api: Api, running: Path) -> None:
    now = datetime.now(UTC)
    old, young = (now - timedelta(hours=2)).isoformat(), (now - timedelta(seconds=10)).isoformat()
    (running / "0.log").write_text(f"start\n{old} old\n{young} young\nno time\n")
    assert log(api, sinceSeconds=3600).text == f"{young} young\nno time\n"
    assert log(api, sinceTime=(now - timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")).text.startswith(
        "start\n"
    )
    (running / "0.log").write_text("lines\nwithout\ntimes\n")
    assert log(api, sinceSeconds=3600).text == "lines\nwithout\ntimes\n"


def opened(path: Path, **options: Any) -> LogFile:
    options = {"tail": None, "since": None, "stamped": False} | options
    return LogFile(path, begun=BEGUN, clock=lambda: BEGUN + timedelta(hours=1), **options)


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 1000])
@pytest.mark.parametrize("ending", ["", "\n"])
def test_the_tail_is_right_at_any_size(tmp_path: Path, lines: int, ending: str) -> None:
    path = tmp_path / "log"
    whole = [f"{index}-" + "x" * (BLOCK // 3) for index in range(20)]
    path.write_text("\n".join(whole) + ending)
    file = opened(path, tail=lines)
    text = ""
    while block := file.read(BLOCK):
        text += block.decode()
    assert text == ("\n".join(whole[-lines:]) + ending if lines else "")


def test_a_line_longer_than_a_block_is_stamped_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("x" * (3 * BLOCK) + "\nend")
    file = opened(path, stamped=True)
    text = b""
    while block := file.read(BLOCK):
        text += block
    text += file.rest()
    first, second = text.decode().split("\n")
    assert first == "2026-01-01T00:00:00.000000Z " + "x" * (3 * BLOCK)
    assert second == "2026-01-01T01:00:00.000000Z end", (
        "it was written while somebody looked, as far as is known"
    )


@pytest.mark.parametrize(
    ("line", "time"),
    [
        (b"2026-01-01T00:00:05Z x", "2026-01-01T00:00:05+00:00"),
        (b"2026-01-01 00:00:05,123 INFO", None),
        (b"[2026-01-01T02:00:05.5+02:00] x", "2026-01-01T00:00:05.500000+00:00"),
        (b"2026-13-01T00:00:05Z x", ""),
        (b"INFO 2026-01-01T00:00:05Z", ""),
        (b"", ""),
    ],
)
def test_times_at_the_beginning_of_a_line(line: bytes, time: str | None) -> None:
    found = time_of(line)
    if time == "":
        assert found is None
    else:
        assert found is not None
        assert time is None or found.isoformat() == time
