"""A platform with many InferenceServices: what it takes to apply, keep, change, list and watch them, and to start with them.

python benchmarks/control_plane.py [--services 1000] [--running 4] [--output results/control-plane.json]

Most services are stopped (`serving.kserve.io/stop: "true"`), as on a platform that people have used for a year. The
platform is one of its own, in a temporary folder. Prints a line a figure, with its limit where there is one; exit code
1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import msgspec

from modelport.kinds.inferenceservice import INFERENCE_SERVICE
from modelport.kube.client import Client
from modelport.kube.resource import CONFIG_MAP

ROOT = Path(__file__).parent.parent
PROGRAMS = ("control", "node", "gateway", "supervisor")
AT_ONCE = 16
LIMITS = {
    "apply_all_s": 60.0,
    "memory_more_mb": 300.0,
    "change_seen_s": 1.0,
    "start_with_them_s": 10.0,
    "list_ms": 100.0,
}
LEAST = {"watch_events_per_s": 10_000.0}
IDLE_LIMIT = 0.02
"""Share of one core that the idle platform may use."""

Figures = dict[str, float]


def modelport(folder: Path, *words: str) -> str:
    """The command, on the platform that is measured."""
    command = [sys.executable, "-m", "modelport", words[0], "--dir", str(folder), *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise SystemExit(f"modelport {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def service(name: str, model: str, *, stopped: bool, note: str = "") -> dict[str, Any]:
    """An InferenceService."""
    annotations = {"serving.kserve.io/stop": "true"} if stopped else {}
    if note:
        annotations["example.org/note"] = note
    return {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": model}}},
    }


async def all_of(work: list[Any], at_once: int = AT_ONCE) -> list[Any]:
    """Runs coroutines, some at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(job: Any) -> Any:
        async with gate:
            return await job

    return await asyncio.gather(*(one(job) for job in work))


def processes(folder: Path) -> dict[str, int]:
    """Role to process number."""
    found: dict[str, int] = {}
    for role in PROGRAMS:
        found[role] = json.loads((folder / "run" / f"{role}.json").read_text())["pid"]
    return found


def memory_mb(folder: Path) -> float:
    """PSS of the platform's own programs."""
    total = 0
    for pid in processes(folder).values():
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total / 1e6


def cpu_s(folder: Path) -> dict[str, float]:
    """Processor time used until now, by role."""
    found: dict[str, float] = {}
    for role, pid in processes(folder).items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found[role] = (int(fields[11]) + int(fields[12])) / 100
    return found


async def settled(client: Client, count: int, limit_s: float = 600.0) -> None:
    """Until each service's status has been written for its newest spec."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        items = (await client.list(INFERENCE_SERVICE, "default")).items
        told = [one for one in items if (one.get("status") or {}).get("conditions")]
        if len(told) >= count:
            return
        await asyncio.sleep(0.25)
    raise SystemExit(f"{len(told)} of {count} services have a status after {limit_s:.0f} s")


async def at_rest(folder: Path, window_s: float = 2.0, limit_s: float = 120.0) -> float:
    """Waits until the platform has nothing to do; how long that took, in seconds."""
    began = time.monotonic()
    before = cpu_s(folder)
    while time.monotonic() - began < limit_s:
        await asyncio.sleep(window_s)
        now = cpu_s(folder)
        if sum(now.values()) - sum(before.values()) < IDLE_LIMIT * window_s:
            return time.monotonic() - began
        before = now
    return time.monotonic() - began


async def fill(folder: Path, figures: Figures, model: str, count: int, running: int) -> None:
    """Applies them all, and waits until all is still."""
    async with Client.from_kubeconfig(folder / "kubeconfig") as client:
        await at_rest(folder)
        before = memory_mb(folder)
        began = time.monotonic()
        work = [
            client.apply(
                INFERENCE_SERVICE,
                service(f"s{number:04}", model, stopped=number >= running),
                field_manager="benchmark",
            )
            for number in range(count)
        ]
        await all_of(work)
        figures["apply_all_s"] = time.monotonic() - began
        await settled(client, count)
        figures["all_have_a_status_s"] = time.monotonic() - began
        await at_rest(folder)
        figures["all_still_s"] = time.monotonic() - began
        figures["memory_mb"] = memory_mb(folder)
        figures["memory_more_mb"] = figures["memory_mb"] - before


async def use(folder: Path, figures: Figures, model: str, count: int, running: int) -> None:
    """Lists, changes, and watches."""
    async with Client.from_kubeconfig(folder / "kubeconfig", timeout_s=120) as client:
        took: list[float] = []
        path = INFERENCE_SERVICE.path("default")
        for _ in range(9):
            began = time.monotonic()
            answer = await client._http.request("GET", path)
            took.append(time.monotonic() - began)
            assert answer.status_code == 200
        figures["list_bytes_mb"] = len(answer.content) / 1e6
        figures["list_ms"] = statistics.median(took) * 1000
        table = "application/json;as=Table;v=v1;g=meta.k8s.io"
        began = time.monotonic()
        await client.request("GET", path, accept=table)
        figures["list_as_table_ms"] = (time.monotonic() - began) * 1000

        seen: list[float] = []
        for round_number in range(5):
            name = f"s{min(round_number, max(running - 1, 0)):04}"
            seen.append(await _changed(client, name, model, f"r{round_number}"))
        figures["change_seen_s"] = statistics.median(seen)

        await at_rest(folder)
        idle_before, version = cpu_s(folder), await _version(client)
        await asyncio.sleep(10)
        idle = cpu_s(folder)
        figures["idle_share_of_core"] = sum(idle.values()) - sum(idle_before.values())
        figures["idle_share_of_core"] /= 10
        for role in PROGRAMS:
            figures[f"idle_{role}_share"] = (idle[role] - idle_before[role]) / 10
        figures["idle_writes"] = await _version(client) - version


async def _version(client: Client) -> int:
    return int((await client.list(CONFIG_MAP, "default")).resource_version)


async def _changed(client: Client, name: str, model: str, note: str) -> float:
    """From a change of a service's spec until its status speaks of it."""
    item = service(name, model, stopped=False)
    item["spec"]["predictor"]["labels"] = {"round": note}
    began = time.monotonic()
    written = await client.apply(INFERENCE_SERVICE, item, field_manager="benchmark")
    since, generation = written["metadata"]["resourceVersion"], written["metadata"]["generation"]
    async for event in client.watch(
        INFERENCE_SERVICE, "default", since=since, fields=f"metadata.name={name}", timeout_s=60
    ):
        if (event.object.get("status") or {}).get("observedGeneration") == generation:
            return time.monotonic() - began
    raise SystemExit(f"{name}: the change is not in the status after 60 s")


WATCHER = """
import asyncio, sys, time
from pathlib import Path
from modelport.kube.client import Client
from modelport.kube.resource import CONFIG_MAP


async def main(kubeconfig, watchers, events):
    async with Client.from_kubeconfig(Path(kubeconfig), timeout_s=120) as client:
        since = (await client.list(CONFIG_MAP, "default")).resource_version

        async def one():
            path = CONFIG_MAP.path("default")
            params = {"watch": "true", "resourceVersion": since}
            request = client._http.build_request("GET", path, params=params)
            answer = await client._http.send(request, stream=True)
            count = 0
            async for part in answer.aiter_raw():
                count += part.count(b"\\n")
                if count >= events:
                    break
            await answer.aclose()
            return count

        tasks = [asyncio.create_task(one()) for _ in range(watchers)]
        await asyncio.sleep(1)
        print("ready", flush=True)
        counts = await asyncio.gather(*tasks)
        print(sum(counts), flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def watch(folder: Path, figures: Figures, watchers: int = 50, writes: int = 1000) -> None:
    """Many watchers of one resource, in a process of their own; events that reach them, a second."""
    async with Client.from_kubeconfig(folder / "kubeconfig", timeout_s=120) as client:
        listener = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [sys.executable, "-c", WATCHER, str(folder / "kubeconfig"), str(watchers), str(writes)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert listener.stdout is not None
        assert listener.stdout.readline().strip() == "ready"
        began = time.monotonic()
        work = [
            client.create(CONFIG_MAP, {"metadata": {"name": f"w{n:05}", "namespace": "default"}, "data": {}})
            for n in range(writes)
        ]
        await all_of(work)
        figures["writes_per_s_with_watchers"] = writes / (time.monotonic() - began)
        heard = await asyncio.to_thread(listener.stdout.readline)
        figures["watch_events_per_s"] = int(heard) / (time.monotonic() - began)
        listener.wait(30)
        await client.request("DELETE", CONFIG_MAP.path("default"), params={"labelSelector": "!x"})


def verdict(name: str, value: float) -> str:
    """What to say of a figure that has a limit."""
    if name in LIMITS:
        return f"(at most {LIMITS[name]:g}) {'ok' if value <= LIMITS[name] else 'TOO MUCH'}"
    if name in LEAST:
        return f"(at least {LEAST[name]:g}) {'ok' if value >= LEAST[name] else 'TOO LITTLE'}"
    if name == "idle_share_of_core":
        return f"(at most {IDLE_LIMIT:g}) {'ok' if value <= IDLE_LIMIT else 'TOO MUCH'}"
    return ""


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--running", type=int, default=4, help="how many of them are not stopped")
    parser.add_argument("--output", type=Path, help="also write the figures, with the machine, as JSON")
    options = parser.parse_args()
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="control-plane-") as work:
        folder, model = Path(work) / "platform", _model(Path(work))
        modelport(folder, "up", "--detach", "--port", _free_port())
        try:
            asyncio.run(fill(folder, figures, model, options.services, options.running))
            asyncio.run(use(folder, figures, model, options.services, options.running))
            asyncio.run(watch(folder, figures))
            modelport(folder, "down")
            began = time.monotonic()
            modelport(folder, "up", "--detach")
            figures["start_with_them_s"] = time.monotonic() - began
            asyncio.run(at_rest(folder))
            figures["still_after_start_s"] = time.monotonic() - began
            figures["state_file_mb"] = (folder / "state.db").stat().st_size / 1e6
        finally:
            modelport(folder, "down")
    missed = False
    for name, value in figures.items():
        said = verdict(name, value)
        missed = missed or "TOO" in said
        print(f"{name:30} {value:12.3f}  {said}", flush=True)
    if options.output:
        report = {"machine": machine.describe(ROOT), "services": options.services, "figures": figures}
        options.output.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return 1 if missed else 0


def _model(folder: Path) -> str:
    import joblib
    from sklearn.dummy import DummyClassifier

    path = folder / "model.joblib"
    joblib.dump(DummyClassifier().fit([[0.0], [1.0]], [0, 1]), path)
    return f"file://{path}"


def _free_port() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main())
