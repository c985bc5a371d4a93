"""`modelport bench`: what a model costs alone, and what the server adds."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from modelport.cli import Mistake, naming
from modelport.cli import body as given_body

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.server.saved import Tensor
    from modelport.server.servable import Servable

DESCRIPTION = """\
Calls a model with its example: alone, in this process, and through a server of its own, over V2 REST with 1, 16
and 64 connections. Server and load share this machine, so the figures tell about them together.
"""


def register(commands: Commands) -> None:
    """Adds the command."""
    bench = commands.add_parser(
        "bench", help="what a model costs, alone and through the server", description=DESCRIPTION
    )
    bench.set_defaults(command=run)
    bench.add_argument(
        "path", type=naming.given, metavar="PATH", help="model file, folder or my_model.py:Class"
    )
    bench.add_argument(
        "-d",
        "--data",
        metavar=given_body.METAVAR,
        help="a V2 request, or - for standard input (default: the model's example)",
    )
    bench.add_argument("--seconds", type=float, default=3.0, help="seconds a figure (default 3)")
    bench.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(options: argparse.Namespace) -> int:
    """Measures and prints."""
    from modelport._dataplane import load_test
    from modelport.cli.serve import default_name
    from modelport.runtimes import source
    from modelport.server.options import ModelOptions, Source
    from modelport.server.runtime import LoadError

    if not 0 < options.seconds < math.inf:
        raise Mistake(f"--seconds: must be more than 0, got {options.seconds:g}")
    name = default_name(options.path)
    try:
        servable = source.load(Source(name=name, path=options.path), ModelOptions())
    except LoadError as error:
        raise Mistake(str(error), code=1) from error
    body = servable.metadata.example_v2 if options.data is None else _read(options.data)
    if body is None:
        raise Mistake("the model has no example", "give a V2 request: modelport bench PATH -d request.json")
    tensors = _tried(servable, body, options.data) if servable.tensors else None
    print(servable.report.split("\n", 1)[0], file=sys.stderr)

    figures: dict[str, Any] = {"model": name}
    with (
        tempfile.TemporaryDirectory(prefix="modelport-bench-") as folder,
        _Server(options.path, name) as server,
    ):
        file = Path(folder) / "body.json"
        file.write_text(json.dumps(body))
        url = f"{server.address}/v2/models/{quote(name, safe='')}/infer"
        # One that takes whole requests is called by a server only.
        figures["alone_us"] = None if tensors is None else _alone(servable, tensors, options.seconds)
        for connections in (1, 16, 64):
            report = json.loads(
                load_test(
                    [
                        *("rest", "--url", url, "--body", str(file), "--connections", str(connections)),
                        *("--warmup", "1", "--duration", str(options.seconds)),
                    ]
                )
            )
            if report["errors"]:
                raise Mistake(f"the model answers with errors: {report['first_errors']}")
            figures[f"connections_{connections}"] = report
            if connections == 1:
                figures["stages_us"] = server.stages()
    print(json.dumps(figures, indent=2) if options.json else _table(figures))
    return 0


def _read(given: str) -> Any:
    """A V2 request."""
    body = given_body.read(given)
    if not isinstance(body, dict) or "inputs" not in body:
        raise Mistake(
            '--data: this is no V2 request: it has no "inputs"',
            'V2: {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [6.8, 2.8, 4.8, 1.4]}]}',
        )
    return cast("Any", body)


def _tried(servable: Servable, body: Any, given: str | None) -> list[Tensor]:
    """A request's tensors after one call, so that what is wrong with them is told before anything is measured."""
    import msgspec

    from modelport.protocol.errors import ServeError
    from modelport.server.saved import Tensor

    try:
        tensors = msgspec.convert(body["inputs"], list[Tensor])
        servable.executor.run(_inputs(tensors), {}, {})
    except (ServeError, msgspec.ValidationError, ValueError) as error:
        raise Mistake(f"{'the example' if given is None else '--data'}: {error}") from error
    return tensors


def _inputs(tensors: list[Tensor]) -> list[Any]:
    """As the data plane hands them over, anew for each call."""
    from modelport.server.warmup import to_input

    return [to_input(tensor, tensor.datatype) for tensor in tensors]


def _alone(servable: Servable, tensors: list[Tensor], seconds: float) -> float:
    """The median time of one call of the model by the data plane's own entry, in µs."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        inputs = _inputs(tensors)
        began = time.perf_counter()
        servable.executor.run(inputs, {}, {})
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


class _Server:
    """A server of its own process, on free ports."""

    def __init__(self, path: str, name: str) -> None:
        command = [sys.executable, "-m", "modelport", "serve", path, "--name", name]
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, "--http-port", "0", "--grpc-port", "0"], stdout=subprocess.PIPE, text=True
        )
        self.address = ""
        for line in self._process.stdout or ():
            if line.startswith("REST"):
                self.address = line.split()[1]
            if line.startswith("Ctrl-C"):
                break
        if not self.address:
            raise Mistake("the server did not start")

    def __enter__(self) -> _Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def stages(self) -> dict[str, float]:
        """Mean time a request of each stage, in µs."""
        with urllib.request.urlopen(f"{self.address}/metrics", timeout=60) as response:  # noqa: S310 - our own server
            text = response.read().decode()
        sums: dict[str, float] = {}
        counts: dict[str, float] = {}
        for line in text.splitlines():
            for kind, into in (("sum", sums), ("count", counts)):
                if line.startswith(f"modelport_stage_duration_seconds_{kind}{{"):
                    stage = line.partition('stage="')[2].partition('"')[0]
                    into[stage] = float(line.rsplit(" ", 1)[1])
        return {stage: sums[stage] / counts[stage] * 1e6 for stage in sums if counts.get(stage)}


def _table(figures: dict[str, Any]) -> str:
    stages = figures["stages_us"]
    own = sum(stages.get(stage, 0.0) for stage in ("decode", "queue", "encode"))
    inside = ", ".join(f"{stage} {stages.get(stage, 0.0):.1f}" for stage in ("decode", "queue", "encode"))
    alone = figures["alone_us"]
    rows: list[str] = []
    if alone is not None:
        own += max(stages.get("predict", 0.0) - alone, 0.0)
        rows.append(f"alone: {alone:.0f} µs a call, {1e6 / alone:,.0f} calls a second")
    rows += [
        f"the server adds {own:.0f} µs inside the process ({inside})",
        "",
        f"{'connections':>11}  {'req/s':>9}  {'p50 ms':>8}  {'p99 ms':>8}",
    ]
    for connections in (1, 16, 64):
        report = figures[f"connections_{connections}"]
        p50, p99 = (report["latency_us"][quantile] / 1000 for quantile in ("p50", "p99"))
        rows.append(f"{connections:>11}  {report['requests_per_s']:>9,.0f}  {p50:>8.2f}  {p99:>8.2f}")
    return "\n".join(rows)
