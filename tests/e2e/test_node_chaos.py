"""Kills at random: whatever dies whenever, the platform comes to what was asked of it, and nothing is left over.

`MODELPORT_CHAOS_ROUNDS=50` for the full run, `MODELPORT_CHAOS_SEED` to repeat one.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import pytest
from node_platform import POD, is_ready, pod, running

from modelport.kube.errors import ApiError
from modelport.local.process import Process

ROUNDS = int(os.environ.get("MODELPORT_CHAOS_ROUNDS", "6"))
SEED = int(os.environ.get("MODELPORT_CHAOS_SEED", "7" if ROUNDS < 20 else str(random.randrange(1 << 30))))
SERVE = (
    "import http.server, signal, sys\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    "http.server.ThreadingHTTPServer(('0.0.0.0', 8080), http.server.SimpleHTTPRequestHandler).serve_forever()\n"
)
PROBE = {"readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "timeoutSeconds": 20}}


def server(name: str, *, patient: bool = False):
    """Two containers, one of which serves and has a child; an init container before them."""
    code = SERVE.replace("sys.exit(0)", "None") if patient else SERVE
    return pod(
        name,
        {"name": "serve", "command": ["python", "-c", code], **PROBE},
        {"name": "beside", "command": ["sh", "-c", "sleep 1000 & wait"]},
        initContainers=[{"name": "first", "image": "x", "command": ["sh", "-c", "echo first"]}],
        terminationGracePeriodSeconds=1,
    )


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with running(tmp_path_factory.mktemp("chaos") / "platform") as found:
        yield found


def test_after_any_kill_all_is_as_it_was_asked_for(platform):
    dice = random.Random(SEED)
    print(f"MODELPORT_CHAOS_SEED={SEED}, {ROUNDS} rounds")
    wanted: set[str] = set()
    for number in range(2):
        platform.create(POD, server(f"steady-{number}"))
        wanted.add(f"steady-{number}")
    platform.until_ready(*wanted)
    for round_ in range(ROUNDS):
        change(platform, dice, wanted, f"pod-{round_}")
        time.sleep(dice.choice([0.0, 0.02, 0.1, 0.4]))  # into the midst of a start or a stop
        victim = dice.choice(["node", "node", "container", "relay", "forkserver", "node and forkserver"])
        kill(platform, dice, victim)
        print(f"round {round_}: killed {victim}; wanted {sorted(wanted)}")
        platform.until(
            f"round {round_} (seed {SEED}): all as asked for",
            lambda: (
                {p["metadata"]["name"] for p in platform.pods() if is_ready(p)} == wanted
                and len(platform.pods()) == len(wanted)
            ),
        )
        platform.until(f"round {round_}: no folder left", lambda: len(list_pods(platform)) == len(wanted))
    for name in list(wanted):
        platform.delete(name)
    platform.until("no process left", lambda: not platform.containers())
    platform.until("no folder left", lambda: not list_pods(platform))
    kill(platform, dice, "node")  # the next one sweeps up what nobody waits for
    platform.until("no note of an end left", lambda: not list((platform.folder / "run" / "exits").iterdir()))


def change(platform, dice: random.Random, wanted: set[str], name: str) -> None:
    """Something is asked for, so that the kill meets it half done."""
    if len(wanted) > 3 or (len(wanted) > 2 and dice.random() < 0.5):
        gone = dice.choice(sorted(wanted))
        wanted.discard(gone)
        with contextlib.suppress(ApiError):
            platform.delete(gone)
    else:
        wanted.add(name)
        platform.create(POD, server(name, patient=dice.random() < 0.3))


def kill(platform, dice: random.Random, victim: str) -> None:
    found: list[Process] = []
    if "node" in victim and (node := platform.program("node")) is not None:
        found.append(node)
    if "forkserver" in victim:
        found += platform.fork_servers()
    if victim in ("container", "relay"):
        pids = [
            pid for pid, words in platform.containers().items() if ("relay" in words) == (victim == "relay")
        ]
        if pids and (one := Process.of(dice.choice(pids))) is not None:
            found.append(one)
    for one in found:
        one.signal(signal.SIGKILL)


def list_pods(platform) -> list[str]:
    return sorted(path.name for path in (platform.folder / "pods").iterdir())
