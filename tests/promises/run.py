"""Promises 1 to 3: requests that arrive at a fixed rate, REST and gRPC, while operations go on. Not one may fail.

    tests/promises.sh                        # 12 operations, for CI
    tests/promises.sh --operations 100       # as it is published

Arrivals are an open loop: they do not wait for answers, and each answer is compared with the right one. Operations are
drawn by a seed, which is printed. Between them nothing is waited for but what an operation needs itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.dummy import DummyRegressor

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from node_platform import Platform, running  # noqa: E402

from modelport.kinds.inferenceservice import INFERENCE_SERVICE  # noqa: E402
from modelport.kube.errors import ApiError  # noqa: E402
from modelport.kube.resource import CONFIG_MAP, Object  # noqa: E402

LOAD = ROOT / "target" / "release" / "modelport-load"
SERVICES = {"tabular": 1.0, "scoring": 2.0}
"""Those under load, and what they answer."""
ROUND_S = 5


def model(folder: Path, value: float) -> Path:
    """A model that answers with a number."""
    folder.mkdir(parents=True)
    fitted = DummyRegressor(strategy="constant", constant=value).fit(np.zeros((2, 2)), [0.0, 1.0])
    joblib.dump(fitted, folder / "model.joblib")
    return folder


def service(name: str, place: str, replicas: int, mark: str = "") -> Object:
    """An InferenceService; another mark is another version of it."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "predictor": {
                "minReplicas": replicas,
                "model": {
                    "modelFormat": {"name": "sklearn"},
                    "protocolVersion": "v2",
                    "storageUri": place,
                    "env": [{"name": "MARK", "value": mark or "first"}],
                },
            }
        },
    }


def rest_load(folder: Path, port: int, name: str, options: argparse.Namespace) -> list[str]:
    """REST arrivals for one service."""
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [0.0, 0.0]}
    (folder / f"{name}.json").write_text(json.dumps({"inputs": [tensor]}))
    (folder / f"{name}.expect").write_text(f'"data":[{SERVICES[name]}]')
    url = f"http://{name}-default.localhost:{port}/v2/models/{name}/infer"
    return ["rest", "--url", url, "--body", str(folder / f"{name}.json"), *common(folder, name, options)]


def grpc_load(folder: Path, port: int, name: str, options: argparse.Namespace) -> list[str]:
    """gRPC arrivals for one service."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    tensor = field(1, b"x") + field(2, b"FP64") + field(3, bytes([1, 2]))
    message = field(1, name.encode()) + field(5, tensor) + field(7, struct.pack("<2d", 0.0, 0.0))
    (folder / f"{name}.grpc").write_bytes(message)
    (folder / f"{name}.grpc.expect").write_bytes(struct.pack("<d", SERVICES[name]))
    url = f"http://{name}-default.localhost:{port}"
    words = ["grpc", "--url", url, "--body", str(folder / f"{name}.grpc"), "--streams", "8"]
    return [*words, *common(folder, f"{name}.grpc", options)]


def common(folder: Path, name: str, options: argparse.Namespace) -> list[str]:
    """What both have."""
    words = ["--rate", str(options.rate), "--seed", str(options.seed), "--connections", "16"]
    words += ["--warmup", "0", "--duration", str(ROUND_S), "--grace", "60"]
    return [*words, "--expect", f"@{folder / f'{name}.expect'}"]


class Load(threading.Thread):
    """Arrivals for one service, round after round until told to end."""

    def __init__(self, name: str, words: list[str]) -> None:
        super().__init__(name=name)
        self._words = words
        self._ending = threading.Event()
        self.answered = 0
        self.failures: dict[str, int] = {}
        self.first: dict[str, str] = {}

    def run(self) -> None:
        """Until told to end."""
        while not self._ending.is_set():
            done = subprocess.run([str(LOAD), *self._words], capture_output=True, text=True, check=False)
            if done.returncode:
                self.failures["load"] = self.failures.get("load", 0) + 1
                self.first.setdefault("load", done.stderr)
                return
            report = json.loads(done.stdout)
            self.answered += report["requests"]
            for kind, count in report["errors_by_kind"].items():
                self.failures[kind] = self.failures.get(kind, 0) + count
            self.first = report["first_errors"] | self.first

    def end(self) -> None:
        """After the round that goes on."""
        self._ending.set()


class Operations:
    """What goes on meanwhile. Each method is one."""

    def __init__(self, platform: Platform, models: Path, rng: random.Random) -> None:
        self._platform = platform
        self._models = models
        self._rng = rng
        self._count = 0
        self._others: set[str] = set()
        self._replicas = dict.fromkeys(SERVICES, 2)

    def all(self) -> dict[str, Callable[[], str]]:
        """By name."""
        return {
            name: getattr(self, name)
            for name in vars(type(self))
            if not name.startswith("_") and name not in ("all", "settle")
        }

    def roll_out(self) -> str:
        """A new version of a service under load: new pods replace the old ones."""
        name = self._any()
        self._count += 1
        self._apply(service(name, self._place(name), self._replicas[name], f"version {self._count}"))
        return name

    def roll_out_while_rolling_out(self) -> str:
        """Another version before the last one is there."""
        return f"{self.roll_out()}, {self.roll_out()}"

    def roll_out_a_bad_one(self) -> str:
        """A version that cannot serve, told, then taken back by the command."""
        name = self._any()
        self.settle()
        self._apply(service(name, "file:///nope", self._replicas[name], "bad"))
        words = "previous version keeps serving"
        self._platform.until(words, lambda: words in self._platform.modelport("describe", name))
        self._platform.modelport("rollout", "undo", name)
        return name

    def scale(self) -> str:
        """More or fewer pods."""
        name = self._any()
        self._replicas[name] = self._rng.choice([1, 2, 3])
        self._apply(service(name, self._place(name), self._replicas[name], f"version {self._count}"))
        return f"{name} to {self._replicas[name]}"

    def apply_another(self) -> str:
        """A service that nobody asks."""
        name = f"other-{self._rng.randrange(4)}"
        self._others.add(name)
        self._count += 1
        self._apply(service(name, self._place("tabular"), 1, str(self._count)))
        return name

    def delete_another(self) -> str:
        """And away with it."""
        if not self._others:
            return self.apply_another()
        name = self._rng.choice(sorted(self._others))
        self._others.discard(name)
        with contextlib.suppress(ApiError):
            self._platform.ask(lambda client: client.delete(INFERENCE_SERVICE, "default", name))
        return name

    def change_the_configuration(self) -> str:
        """A rule of the platform's own."""
        self._count += 1
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "modelport-config", "namespace": "kserve"},
            "data": {"storage": f"mirrors: {{'gs://nowhere-{self._count}/': 'file:///nowhere/'}}"},
        }
        self._again(lambda: self._platform.apply(CONFIG_MAP, body))
        return str(self._count)

    def kill_a_pod(self) -> str:
        """`kill -9` of a server under load; another pod is there, and what the dead one had is asked again."""
        self.settle()
        name = self._any()
        if self._replicas[name] == 1:
            self._replicas[name] = 2
            self._apply(service(name, self._place(name), 2, f"version {self._count}"))
            self.settle()
        mine = f"default/{name}-predictor-"
        pids = [one["pid"] for one in self._status() if one.get("name", "").startswith(mine)]
        victim = self._rng.choice(pids)
        os.killpg(victim, signal.SIGKILL)
        return f"{name}, pid {victim}"

    def restart_node(self) -> str:
        """`kill -9`: pods live on, and are found again."""
        return self._kill("node", signal.SIGKILL)

    def restart_control(self) -> str:
        """`kill -9`: what serves goes on."""
        return self._kill("control", signal.SIGKILL)

    def restart_gateway(self) -> str:
        """As planned: it answers what it has, and new connections wait for its successor."""
        return self._kill("gateway", signal.SIGTERM)

    def settle(self) -> None:
        """Waits until the services under load are what they are to be."""
        for name in SERVICES:
            self._platform.until(f"{name} settled", lambda name=name: self._is_settled(name))

    def _is_settled(self, name: str) -> bool:
        item = self._platform.ask(lambda client: client.get(INFERENCE_SERVICE, "default", name))
        status = item.get("status", {})
        conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
        fresh = status.get("observedGeneration") == item["metadata"]["generation"]
        copies = status.get("modelStatus", {}).get("copies", {}).get("totalCopies")
        return fresh and conditions.get("LatestDeploymentReady") == "True" and copies == self._replicas[name]

    def _any(self) -> str:
        return self._rng.choice(sorted(SERVICES))

    def _place(self, name: str) -> str:
        return (self._models / name).as_uri()

    def _apply(self, body: Object) -> None:
        self._again(lambda: self._platform.apply(INFERENCE_SERVICE, body))

    def _again(self, act: Callable[[], Any]) -> None:
        """The API server may be away: a user would try again as well."""

        def tried() -> bool:
            act()
            return True

        self._platform.until("the API server", tried)

    def _status(self) -> list[Object]:
        return json.loads(self._platform.modelport("status", "-o", "json"))["processes"]

    def _kill(self, role: str, number: int) -> str:
        before = self._platform.program(role)
        if before is None:
            return f"no {role} is there"
        os.kill(before.pid, number)

        def replaced() -> bool:
            now = self._platform.program(role)
            return now is not None and now.alive and now.pid != before.pid

        self._platform.until(f"another {role}", replaced)
        return f"pid {before.pid}"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--operations", type=int, default=12)
    parser.add_argument("--rate", type=float, default=40.0, help="arrivals a second, for each of four loads")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", default="", help="names of operations, with commas")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    say(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, value in SERVICES.items():
            model(folder / "models" / name, value)
        with running(folder / "platform") as platform:
            return promises(platform, folder, rng, options)


def promises(platform: Platform, folder: Path, rng: random.Random, options: argparse.Namespace) -> int:
    """Load, operations, verdict."""
    operations = Operations(platform, folder / "models", rng)
    for name in SERVICES:
        platform.apply(INFERENCE_SERVICE, service(name, (folder / "models" / name).as_uri(), 2))
    operations.settle()
    gateway = json.loads(platform.modelport("status", "-o", "json"))["gateway"]
    port = int(gateway.rpartition(":")[2])
    loads = [
        Load(f"{name} by {kind}", words(folder, port, name, options))
        for name in SERVICES
        for kind, words in (("REST", rest_load), ("gRPC", grpc_load))
    ]
    for load in loads:
        load.start()
    began = time.monotonic()
    known = operations.all()
    names = options.only.split(",") if options.only else sorted(known)
    done: list[str] = []
    try:
        for number in range(options.operations):
            # Each at least once, then by chance.
            name = rng.sample(names, len(names))[0] if number >= len(names) else names[number]
            said = known[name]()
            done.append(name)
            say(f"{time.monotonic() - began:6.1f} s  {name}: {said}")
            time.sleep(rng.uniform(0, 1.0))
        operations.settle()
        time.sleep(2)
    finally:
        for load in loads:
            load.end()
        for load in loads:
            load.join()
    failed = sum(sum(load.failures.values()) for load in loads)
    for load in loads:
        say(f"{load.name}: {load.answered} answered, failed: {load.failures or 'none'} {load.first or ''}")
    found = {
        "seed": options.seed,
        "operations": {name: done.count(name) for name in sorted(set(done))},
        "seconds": round(time.monotonic() - began, 1),
        "answered": {load.name: load.answered for load in loads},
        "failed": failed,
    }
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")
    return 1 if failed or not all(load.answered for load in loads) else 0


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
