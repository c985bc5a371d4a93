"""What the platform takes while nothing happens, what one more model takes, and where a start's time goes.

    python benchmarks/footprint.py                 # two minutes
    python benchmarks/footprint.py --idle 60 --json results.json

A platform of its own is started in a temporary folder, twice: the first start compiles Python's files where an
installer has not. One scikit-learn model is deployed; then, at rest, each process' memory is read (PSS: pages that
several processes share are counted by shares, so that the sum is what the platform takes from the machine; private:
what would come back if that process ended) and the processor time of --idle seconds. Further models follow.
Exit code 1: beyond a limit, or the platform did not come up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import joblib
import machine
import msgspec
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tree import free_ports, private_mb, processes

from modelport.kinds import inferenceservice
from modelport.kube.client import Client
from modelport.kube.resource import POD, Object

TOTAL_LIMIT_MB = 200
IDLE_LIMIT = 0.01
FURTHER_LIMIT_MB = 15
FURTHER = 3
SETTLE_S = 20
"""After its start a program gives back what it needed for it; see `local/program.py`."""
LIMIT_S = 120.0
NAME = "iris"
ROW = b'{"instances": [[6.8, 2.8, 4.8, 1.4]]}'
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


class Platform:
    """One that is started for this."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "platform"
        self.port = free_ports()[0]

    def command(self, *words: str) -> str:
        """A command's output. Its failure ends the benchmark with its words."""
        line = [sys.executable, "-m", "modelport", *words, "--dir", str(self.folder)]
        done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(
                f"error: modelport {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def up(self) -> float:
        """Starts it; the seconds until it could be used."""
        began = time.monotonic()
        self.command("up", "--detach", "--port", str(self.port))
        return time.monotonic() - began

    def processes(self) -> list[tuple[str, str, int]]:
        """Role, name and number of each."""
        listed = json.loads(self.command("status", "-o", "json"))
        listed = listed if isinstance(listed, list) else listed["processes"]
        found: list[tuple[str, str, int]] = []
        for row in listed:
            below = processes(row["pid"]) if row["role"] == "pod" else [row["pid"]]
            found += [(row["role"], row.get("name") or "", pid) for pid in below]
        return found


def service(name: str, model: Path) -> Object:
    """The InferenceService of a model file."""
    model_of = {"modelFormat": {"name": "sklearn"}, "storageUri": model.as_uri()}
    meta = {"name": name, "namespace": "default"}
    spec = {"predictor": {"model": model_of}}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": meta,
        "spec": spec,
    }


class Waterfall:
    """When each step of a service's start was seen, in seconds since it was asked for."""

    def __init__(self, platform: Platform, name: str) -> None:
        self._platform, self._name = platform, name
        self._began = 0.0
        self.steps: dict[str, float] = {}

    def _saw(self, step: str) -> None:
        self.steps.setdefault(step, round(time.monotonic() - self._began, 3))

    async def run(self, body: Object) -> None:
        """Applies the service and follows it until a prediction is answered."""
        async with Client.from_kubeconfig(self._platform.folder / "kubeconfig") as client:
            since = (await client.list(POD, "default")).resource_version
            self._began = time.monotonic()
            await client.apply(inferenceservice.KIND.resource, body, field_manager="footprint")
            self._saw("accepted")
            pods = asyncio.create_task(self._pods(client, since))
            try:
                async with asyncio.timeout(LIMIT_S):
                    await self._ready(client)
                    await asyncio.to_thread(self._answer)
            finally:
                pods.cancel()

    async def _pods(self, client: Client, since: str) -> None:
        async for event in client.watch(POD, "default", since=since):
            if not event.object["metadata"].get("name", "").startswith(self._name + "-"):
                continue
            self._saw("pod created")
            status: Object = event.object.get("status") or {}
            true = {c["type"] for c in status.get("conditions") or [] if c.get("status") == "True"}
            if "Initialized" in true:
                self._saw("model fetched")
            if any("running" in (c.get("state") or {}) for c in status.get("containerStatuses") or []):
                self._saw("process started")
            if "Ready" in true:
                self._saw("model loaded and warm")

    async def _ready(self, client: Client) -> None:
        while True:
            found = await client.get(inferenceservice.KIND.resource, "default", self._name)
            for condition in found.get("status", {}).get("conditions") or []:
                if condition["type"] == "Ready" and condition["status"] == "True":
                    self._saw("service ready")
                    return
            await asyncio.sleep(0.005)

    def _answer(self) -> None:
        url = f"http://127.0.0.1:{self._platform.port}/v1/models/{self._name}:predict"
        host = {"Host": f"{self._name}-default.example.com", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, ROW, host), timeout=60) as response:
            if "predictions" not in json.load(response):
                raise SystemExit("error: the answer holds no predictions")
        self._saw("first answer")


def pss_mb(pid: int) -> float:
    """A process' share of what it maps."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def processor_s(pids: list[int]) -> float:
    """Processor time that they have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(platform: Platform, model: Path, idle_s: float) -> dict[str, Any]:
    """All of it, on a platform that is not up yet."""
    platform.up()
    platform.command("down")
    up_s = platform.up()
    fall = Waterfall(platform, NAME)
    asyncio.run(fall.run(service(NAME, model)))
    time.sleep(SETTLE_S)
    rest = platform.processes()
    memory = [
        {
            "role": role,
            "name": name,
            "pss_mb": round(pss_mb(pid), 1),
            "private_mb": round(private_mb([pid]), 1),
        }
        for role, name, pid in rest
    ]
    pids = [pid for _, _, pid in rest]
    before = processor_s(pids)
    time.sleep(idle_s)
    idle = (processor_s(pids) - before) / idle_s
    again = Waterfall(platform, "second")
    asyncio.run(again.run(service("second", model)))
    for number in range(1, FURTHER):
        further = Waterfall(platform, f"further{number}")
        asyncio.run(further.run(service(f"further{number}", model)))
    time.sleep(SETTLE_S)
    added = [pid for role, name, pid in platform.processes() if role == "pod" and pid not in pids]
    return {
        "total_pss_mb": round(sum(one["pss_mb"] for one in memory), 1),
        "processes": memory,
        "idle_share_of_a_core": round(idle, 4),
        "further_model_private_mb": round(private_mb(added) / FURTHER, 1),
        "up_s": round(up_s, 2),
        "first_service_s": fall.steps,
        "further_service_s": again.steps,
    }


def show(found: dict[str, Any]) -> None:
    """As a table."""
    print("| process | PSS, MB | private, MB |\n| --- | --- | --- |")
    for one in found["processes"]:
        print(f"| {one['role']} {one['name']} | {one['pss_mb']} | {one['private_mb']} |")
    print(f"\nall together      {found['total_pss_mb']} MB (limit {TOTAL_LIMIT_MB})")
    print(f"a further model   {found['further_model_private_mb']} MB private (limit {FURTHER_LIMIT_MB})")
    print(f"at rest           {found['idle_share_of_a_core']:.2%} of a core (limit {IDLE_LIMIT:.0%})")
    print(f"modelport up      {found['up_s']} s")
    for what in ("first_service_s", "further_service_s"):
        steps = ", ".join(f"{step} {seconds}" for step, seconds in found[what].items())
        print(f"{what.removesuffix('_s').replace('_', ' '):17} {steps}")


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--idle", type=float, default=30.0, help="seconds of which the processor time is taken"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    about = machine.describe(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory(prefix="modelport-footprint-") as temporary:
        model = Path(temporary) / "model.joblib"
        joblib.dump(LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True)), model)
        platform = Platform(Path(temporary))
        try:
            found = measure(platform, model, options.idle)
        finally:
            platform.command("down")
    show(found)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found | {"machine": about})) + b"\n")
    beyond = (
        found["total_pss_mb"] > TOTAL_LIMIT_MB
        or found["further_model_private_mb"] > FURTHER_LIMIT_MB
        or found["idle_share_of_a_core"] > IDLE_LIMIT
    )
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
