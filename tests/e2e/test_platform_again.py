"""A platform that was stopped, or killed, and is started again: what it says of before must not pass for now."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import joblib
import pytest
from node_platform import PATIENCE_S, POD, pod, running
from sklearn.linear_model import LogisticRegression

from modelport.kinds.inferenceservice import INFERENCE_SERVICE


@pytest.fixture
def platform(tmp_path):
    model = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    joblib.dump(model, tmp_path / "again.joblib")
    with running(tmp_path / "platform") as found:
        found.modelport("deploy", str(tmp_path / "again.joblib"))
        yield found


def says_ready(platform) -> bool:
    item = platform.ask(lambda client: client.get(INFERENCE_SERVICE, "default", "again"))
    conditions = {one["type"]: one["status"] for one in item["status"]["conditions"]}
    return conditions["Ready"] == "True"


def serves(platform) -> bool:
    return any("default_again-predictor" in words for words in platform.containers().values())


def kill(platform) -> None:
    """As a power cut does."""
    for pid in platform.processes():
        os.kill(pid, 9)
    platform.until("nothing left", lambda: not platform.processes())


@pytest.mark.parametrize("end", [lambda platform: platform.modelport("down"), kill], ids=["down", "kill"])
def test_who_waits_after_a_start_waits_for_this_start(platform, tmp_path, end):
    """`kubectl wait`, an SDK's wait and `deploy` in the line after `up` are followed by requests: Ready as it was kept
    from before would send them to nobody."""
    end(platform)
    platform.modelport("up", "--detach")
    assert not says_ready(platform) or serves(platform)
    model = str(tmp_path / "again.joblib")
    words = [sys.executable, "-m", "modelport", "deploy", model, "--dir", str(platform.folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert serves(platform)
    assert "predictions" in platform.modelport("predict", "again", "-d", '{"instances": [[3.0]]}')


def test_who_watches_goes_on_watching_when_the_control_plane_is_killed(platform):
    """`get -w` promises to go on until it is interrupted; it ended with `start it: modelport up`, of a platform that was
    back a second later."""
    words = [sys.executable, "-m", "modelport", "get", "isvc", "-w", "--dir", str(platform.folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as watching:
        try:
            assert watching.stdout.readline().startswith("NAME")
            assert watching.stdout.readline().startswith("again")
            os.kill(next(pid for pid, role in roles(platform) if role == "control"), 9)
            platform.until("it is back", lambda: says_ready(platform))
            label = {"metadata": {"labels": {"seen": "yes"}}}
            platform.ask(lambda client: client.patch(INFERENCE_SERVICE, "default", "again", label))
            told = watching.stdout.readline()
            if told.startswith("the platform does not answer"):
                told = watching.stdout.readline()
            assert told.startswith("again")
        finally:
            watching.kill()


def test_who_waits_goes_on_waiting_when_the_control_plane_is_killed(platform):
    """A script that deploys and waits failed for a second without an API server, of a service that was well."""
    words = [
        sys.executable,
        "-m",
        "modelport",
        "wait",
        "isvc/again",
        "--for",
        "delete",
        "--dir",
        str(platform.folder),
    ]
    before = watches(platform)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        try:
            platform.until("its watch", lambda: watches(platform) > before)
            os.kill(next(pid for pid, role in roles(platform) if role == "control"), 9)
            assert waiting.stderr.readline().startswith("the platform does not answer")
            platform.until("it is back", lambda: says_ready(platform))
            platform.ask(lambda client: client.delete(INFERENCE_SERVICE, "default", "again"))
            assert waiting.wait(PATIENCE_S) == 0
        finally:
            waiting.kill()


def test_who_follows_a_log_goes_on_when_the_control_plane_is_killed(platform):
    """`logs -f` ended with an error, of a pod that wrote on. Each line comes once, those of the time without it too."""
    code = (
        "import itertools, time\nfor i in itertools.count(): print('line', i, flush=True); time.sleep(0.02)"
    )
    platform.create(POD, pod("counting", {"command": ["python", "-c", code]}))
    platform.until_ready("counting")
    words = [sys.executable, "-m", "modelport", "logs", "pod/counting", "-f", "--dir", str(platform.folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        try:
            seen = [int(following.stdout.readline().split()[1]) for _ in range(20)]
            for _ in range(2):
                os.kill(next(pid for pid, role in roles(platform) if role == "control"), 9)
                platform.until("it is back", lambda: says_ready(platform))
                newest = int(platform.log("counting", tailLines="1").split()[1])
                while seen[-1] < newest:
                    seen.append(int(following.stdout.readline().split()[1]))
        finally:
            following.kill()
    assert seen == list(range(seen[0], seen[0] + len(seen)))


def watches(platform) -> int:
    """How many are open at the API server."""
    told = platform.ask(lambda client: client.request("GET", "/metrics"))
    (line,) = (one for one in told.splitlines() if one.startswith("apiserver_longrunning_requests{"))
    return int(line.split()[1])


def roles(platform) -> list[tuple[int, str]]:
    report = json.loads(platform.modelport("status", "-o", "json"))
    return [(one["pid"], one["role"]) for one in report["processes"]]


def test_who_stops_a_platform_finds_in_its_words_that_it_was(platform):
    """The event stays: whoever wonders in a week why a service was away reads it."""
    platform.modelport("down")
    platform.modelport("up", "--detach")
    assert "stopped with the platform" in platform.events("again")["InferenceServiceNotReady"]


def test_who_interrupts_a_start_is_told_that_it_goes_on_and_how_to_end_it(platform):
    """Ctrl-C after `up --detach` looked as if nothing had been started; the port was taken a second later."""
    host, _, port = json.loads(platform.modelport("status", "-o", "json"))["api"].rpartition(":")
    platform.modelport("down")
    words = [sys.executable, "-m", "modelport", "up", "--detach", "--dir", str(platform.folder)]
    # While somebody has the API server's port the start cannot end.
    with (
        socket.create_server((host, int(port))),
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as starting,
    ):
        platform.until(
            "the supervisor", lambda: any("supervisor" in one for one in platform.processes().values())
        )
        starting.send_signal(signal.SIGINT)
        out, told = starting.communicate(timeout=PATIENCE_S)
    assert (starting.returncode, out) == (130, "")
    assert f"It goes on starting. Stop it: modelport down --dir {platform.folder}" in told
    platform.until("all of it", lambda: platform.modelport("status"))
