"""Runs `modelport-load` on its core."""

from __future__ import annotations

import json
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BINARY = ROOT / "target" / "release" / "modelport-load"


def build() -> None:
    """Compiles it, if need be."""
    command = ["cargo", "build", "--quiet", "--release", "--package", "modelport-load"]
    subprocess.run(command, cwd=ROOT, check=True)


@dataclass(frozen=True)
class Shot:
    """One measurement: which protocol, how many at once, at which rate."""

    protocol: str  # rest, rest-binary, grpc
    connections: int
    rate: float | None = None  # open loop
    seed: int = 1


# Streams share connections beyond this many: what a pool of clients would do.
GRPC_CONNECTIONS = 8


def fire(
    shot: Shot,
    model: Path,
    port: int,
    name: str,
    expect: Path,
    times: tuple[float, float],
    core: int,
) -> dict[str, Any]:
    """The load generator's report, and how busy the generator itself was."""
    url = f"http://127.0.0.1:{port}"
    if shot.protocol == "grpc":
        connections = min(shot.connections, GRPC_CONNECTIONS)
        args = ["grpc", "--url", url, "--body", str(model / "request.grpc")]
        args += ["--connections", str(connections)]
        args += ["--streams", str(shot.connections // connections)]
    else:
        binary = shot.protocol == "rest-binary"
        body = model / ("request.bin" if binary else "request.json")
        args = ["rest", "--url", f"{url}/v2/models/{name}/infer", "--body", str(body)]
        args += ["--connections", str(shot.connections)]
        if binary:
            length = (model / "request.bin.header").read_text()
            args += ["--content-type", "application/octet-stream"]
            args += ["--header", f"Inference-Header-Content-Length:{length}"]
    if shot.rate is not None:
        args += ["--rate", str(shot.rate), "--seed", str(shot.seed)]
    warmup, duration = times
    args += ["--warmup", str(warmup), "--duration", str(duration), "--expect", f"@{expect}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["taskset", "-c", str(core), str(BINARY), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(done.stdout)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report["generator_busy"] = round(used / (warmup + duration), 3)
    return report
