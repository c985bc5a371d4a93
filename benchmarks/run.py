"""Runs the contenders side by side and writes what they did.

    python benchmarks/run.py --workloads iris,tensor,tabular --contenders modelport,kserve,triton

A round starts every contender in turn, waits for its first right answer, checks one answer a
protocol, measures and stops it; the order rotates from round to round. Figures are medians over the
rounds. Open-loop workloads first find each contender's capacity in all rounds, then send arrivals.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
import urllib.error
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environment
import load
import machine
import report
import stages
from contenders import MODEL_NAME, Contender, Launch, Site, choose
from load import Shot
from process import Server, ServerEndedError
from workload import OPEN_CONNECTIONS, WORKLOADS, Workload, WrongAnswerError, ask, verify

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
SERVER_CORE, LOAD_CORE = 0, 1
START_LIMIT_S = 120
POLL_S = 0.01
OPEN_REQUESTS, OPEN_LONGEST = 1000, 4  # requests; times --seconds
SETTLE_S = 1.0  # between the first answer and the look at idle memory


class Bench:
    """One run: environments, models, and the results so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.contenders = choose(options.contenders.split(","))
        self.workloads = [choose_workload(name) for name in options.workloads.split(",")]
        self.environ = machine.environ()
        self.results: dict[str, Any] = {
            "machine": machine.describe(ROOT),
            "settings": {
                "seconds": options.seconds,
                "warmup": options.warmup,
                "rounds": options.rounds,
            },
            "contenders": {},
            "workloads": {w.name: {"title": w.title, "contenders": {}} for w in self.workloads},
            "ceiling": {},
        }

    def prepare(self) -> None:
        """Builds the load generator, the environments and the models."""
        load.build()
        say("client's environment")
        contenders = Path(__file__).parent / "contenders"
        self.client = environment.make("client", contenders / "client.txt", [])
        self.envs: dict[str, Path] = {}
        self.models: dict[tuple[str, str], Path] = {}
        for contender in self.contenders:
            family = contender.family
            if family not in self.envs:
                say(f"{family}'s environment and models")
                self.envs[family] = self.environment(contender)
                for workload in self.workloads:
                    folder = environment.train(self.envs[family], family, workload.name, self.environ)
                    environment.encode(self.client, folder, MODEL_NAME)
                    self.models[family, workload.name] = folder
            self.results["contenders"][contender.name] = {
                "title": contender.title,
                "versions": environment.versions(self.envs[family], contender.packages),
            }
        self.agree()

    def environment(self, contender: Contender) -> Path:
        """The family's environment; Modelport's is built from this checkout or given."""
        given = self.options.modelport_env
        if contender.family != "modelport":
            return environment.make(contender.family, contender.requirements, [])
        if given:
            return Path(given).resolve()
        extra = ["--reinstall-package", "modelport", str(ROOT)]
        return environment.make("modelport", contender.requirements, extra)

    def agree(self) -> None:
        """All environments must have trained models that expect the same of the same request."""
        for workload in self.workloads:
            folders = [f for (_, name), f in self.models.items() if name == workload.name]
            for file in ("request.json", "expected.json"):
                if len({(folder / file).read_bytes() for folder in folders}) != 1:
                    listed = ", ".join(str(folder / file) for folder in folders)
                    raise SystemExit(f"error: {workload.name}: these differ: {listed}")

    def measure(self) -> None:
        """All rounds of all workloads."""
        for workload in self.workloads:
            self.rounds(workload, lambda contender, number, w=workload: list(w.shots))
            if workload.shares:
                capacity = self.capacities(workload)
                self.results["workloads"][workload.name] |= {
                    "capacities": capacity,
                    "shares": workload.shares,
                }
                self.rounds(workload, lambda c, number, w=workload, k=capacity: arrivals(w, k, c, number))
            if workload.name == "tensor":
                self.ceiling(workload)

    def capacities(self, workload: Workload) -> dict[str, float]:
        """Each contender's median rate in the closed loop."""
        found = {}
        for name, seen in self.results["workloads"][workload.name]["contenders"].items():
            shots = [s for s in seen["shots"] if s["rate"] is None]
            found[name] = statistics.median(s["report"]["requests_per_s"] for s in shots)
        return found

    def rounds(self, workload: Workload, plan: Callable[[Contender, int], list[Shot]]) -> None:
        """Every contender once a round, each round in another order."""
        for number in range(self.options.rounds):
            shift = number % len(self.contenders)
            for contender in self.contenders[shift:] + self.contenders[:shift]:
                say(f"{workload.name}, round {number + 1}: {contender.title}")
                try:
                    self.turn(contender, workload, plan(contender, number), number)
                except (ServerEndedError, WrongAnswerError) as error:
                    raise SystemExit(f"error: {workload.name}: {contender.name}: {error}") from error

    def turn(self, contender: Contender, workload: Workload, shots: list[Shot], number: int) -> None:
        """One contender, started, checked, measured, stopped."""
        model = self.models[contender.family, workload.name]
        seen = self.results["workloads"][workload.name]["contenders"].setdefault(
            contender.name, {"starts": [], "shots": [], "skipped": {}}
        )
        ports = free_ports()
        with scratch() as folder:
            site = Site(self.envs[contender.family], workload.name, model, folder, *ports)
            launch = contender.launch(site)
            with self.server(launch, folder) as server:
                first_s = self.first_answer(server, workload, model, ports)
                parts = {}
                for protocol in workload.protocols:
                    reason = contender.skips.get((workload.name, protocol))
                    if reason:
                        seen["skipped"][protocol] = reason
                    else:
                        parts[protocol] = self.verified(server, protocol, model, ports)
                time.sleep(SETTLE_S)
                memory = server.memory_mb()
                seen["starts"].append({"round": number, "first_answer_s": first_s} | memory)
                for shot in shots:
                    if shot.protocol in parts:
                        port = ports[1] if shot.protocol == "grpc" else ports[0]
                        ours = contender.family == "modelport"
                        before = stages.read(ports[0]) if ours else {}
                        outcome = self.fire(server, shot, model, port, parts[shot.protocol])
                        if ours:
                            outcome["stages_us"] = stages.between(before, stages.read(ports[0]))
                        seen["shots"].append({"round": number} | shot.__dict__ | outcome)
                        say(f"    {line(shot, outcome['report'])}")

    def server(self, launch: Launch, folder: Path) -> Server:
        """The process, not yet started."""
        return Server(launch.argv, self.environ | dict(launch.environ), SERVER_CORE, folder)

    def first_answer(self, server: Server, workload: Workload, model: Path, ports: tuple[int, int]) -> float:
        """Seconds from the start to the first answer to a REST prediction."""
        deadline = server.started + START_LIMIT_S
        last = "no answer"
        while time.monotonic() < deadline:
            server.check()
            try:
                ask("rest", model, MODEL_NAME, ports, self.client)
                return time.monotonic() - server.started
            except (urllib.error.URLError, OSError) as error:
                last = str(error)
            except WrongAnswerError as error:  # 404 or 503 while the model loads
                last = str(error)
            time.sleep(POLL_S)
        raise WrongAnswerError(f"not ready within {START_LIMIT_S} s: {last}\n{server.tail()}")

    def verified(self, server: Server, protocol: str, model: Path, ports: tuple[int, int]) -> Path:
        """Raises with the server's last words when the answer is wrong."""
        try:
            return verify(protocol, model, MODEL_NAME, ports, self.client)
        except (WrongAnswerError, OSError) as error:
            raise WrongAnswerError(f"{protocol}: {error}\n{server.tail()}") from error

    def fire(self, server: Server, shot: Shot, model: Path, port: int, part: Path) -> dict[str, Any]:
        """One measurement, with the server's processor time a request."""
        seconds = self.options.seconds
        if shot.rate:  # a p99 needs requests, and arrivals at a slow server's pace are few
            seconds = min(max(seconds, OPEN_REQUESTS / shot.rate), OPEN_LONGEST * seconds)
        times = (self.options.warmup, seconds)
        before = server.cpu_s()
        figures = load.fire(shot, model, port, MODEL_NAME, part, times, LOAD_CORE)
        used = server.cpu_s() - before
        server.check()
        done = max(1.0, figures["requests_per_s"] * sum(times))  # the warm-up included
        return {"report": figures, "server_cpu_us_per_request": round(used / done * 1e6, 1)}

    def ceiling(self, workload: Workload) -> None:
        """The same bytes, read and thrown away by a bare hyper server."""
        family = self.contenders[0].family
        model = self.models[family, workload.name]
        part = model / "part.sink"
        part.write_bytes(b"")
        for number in range(self.options.rounds):
            port = free_ports()[0]
            with scratch() as folder:
                launch = Launch([str(load.BINARY), "sink", "--port", str(port)])
                with self.server(launch, folder) as server:
                    until = time.monotonic() + START_LIMIT_S
                    while not listening(port) and time.monotonic() < until:
                        server.check()
                        time.sleep(POLL_S)
                    for shot in workload.shots:
                        say(f"{workload.name}, round {number + 1}: bare hyper, {shot.protocol}")
                        outcome = self.fire(server, shot, model, port, part)
                        entry = {"round": number} | shot.__dict__ | outcome
                        self.results["ceiling"].setdefault(workload.name, []).append(entry)


def arrivals(workload: Workload, capacity: dict[str, float], contender: Contender, number: int) -> list[Shot]:
    """Open-loop shots: shares of the contender's own capacity and of the lowest of all."""
    closed = replace(workload.shots[0], connections=OPEN_CONNECTIONS, seed=number + 1)
    shots = []
    for rate in (capacity[contender.name], min(capacity.values())):
        shots += [replace(closed, rate=rate * share) for share in workload.shares]
    return list(dict.fromkeys(shots))


def line(shot: Shot, figures: dict[str, Any]) -> str:
    """One measurement for the eye."""
    how = f"{shot.rate:g}/s" if shot.rate else f"{shot.connections} at once"
    latency = figures["latency_us"]
    errors = f", {figures['errors']} errors: {figures['first_errors']}" if figures["errors"] else ""
    return (
        f"{shot.protocol}, {how}: {figures['requests_per_s']:,.0f}/s, "
        f"p50 {latency['p50'] / 1000:.2f} ms, p99 {latency['p99'] / 1000:.2f} ms{errors}"
    )


def choose_workload(name: str) -> Workload:
    """The workload of this name."""
    if name not in WORKLOADS:
        raise SystemExit(f"error: --workloads: unknown {name}\n\nhint: {', '.join(WORKLOADS)}")
    return WORKLOADS[name]


def free_ports() -> tuple[int, int]:
    """Two ports that nobody uses now."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def listening(port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class scratch(tempfile.TemporaryDirectory[str]):  # noqa: N801 - used like a function
    """A folder for one server's files, as a path."""

    def __enter__(self) -> Path:  # type: ignore[override]
        return Path(super().__enter__())


def say(text: str) -> None:
    """Progress goes to stderr: stdout is for the table."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="default: all")
    parser.add_argument("--contenders", default="modelport,kserve,triton", help="families or variants")
    parser.add_argument("--seconds", type=float, default=8, help="measured, a figure")
    parser.add_argument("--warmup", type=float, default=1, help="not measured, a figure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modelport-env", help="a virtual environment that has modelport already")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/DATE.json")
    options = parser.parse_args()
    if not shutil.which("taskset"):
        raise SystemExit("error: taskset is missing\n\nhint: install util-linux (Linux only)")
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise SystemExit("error: needs cores 0 and 1: one for the server, one for the load")
    day = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d-%H%M")
    out = options.out or Path(__file__).parent / "results" / f"{day}.json"
    bench = Bench(options)
    bench.prepare()
    try:
        bench.measure()
    except (SystemExit, KeyboardInterrupt) as error:
        bench.results["failed"] = str(error) or "interrupted"
        raise
    finally:  # what was measured before a failure took time, and may explain it
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(bench.results, indent=1) + "\n")
    sys.stdout.write(report.render(bench.results))
    say(f"\nwritten to {out}")


if __name__ == "__main__":
    main()
