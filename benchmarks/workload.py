"""What is asked of the contenders, and whether an answer is right."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from load import Shot

HERE = Path(__file__).parent
TOLERANCE = 1e-4  # of the mean: single precision, summed in another order


@dataclass(frozen=True)
class Workload:
    """A model, a request, and how it is sent."""

    name: str
    title: str
    shots: tuple[Shot, ...]  # closed loop
    # Open loop afterwards: shares of each contender's capacity, found at these connections.
    shares: tuple[float, ...] = ()

    @property
    def protocols(self) -> list[str]:
        """Those it uses, in order."""
        return list(dict.fromkeys(shot.protocol for shot in self.shots))


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "iris",
            "scikit-learn LogisticRegression on iris, one row a request",
            tuple(Shot("rest", n) for n in (1, 16, 64, 256)) + tuple(Shot("grpc", n) for n in (1, 16, 64)),
        ),
        Workload(
            "tensor",
            "1x3x224x224 FP32 into a function that takes its mean",
            tuple(Shot(protocol, 4) for protocol in ("rest", "rest-binary", "grpc")),
        ),
        Workload(
            "tabular",
            "ColumnTransformer and 500 XGBoost trees over 30 mixed columns, one row a request",
            (Shot("rest", 32),),
            (0.5, 0.8),
        ),
    )
}
# As many as may be busy at once in an open loop; the rest waits, and the waiting counts.
OPEN_CONNECTIONS = 256


class WrongAnswerError(Exception):
    """A contender answered, but not what the model says."""


def ask(protocol: str, model: Path, name: str, ports: tuple[int, int], client: Path) -> tuple[float, bytes]:
    """One request: the answer's first value, and the bytes of the answer that carry it."""
    if protocol == "grpc":
        part = model / "part.grpc"
        script = HERE / "inside" / "grpc_message.py"
        message = model / "request.grpc"
        command = [client / "bin" / "python", script, "ask", f"127.0.0.1:{ports[1]}", message, part]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise WrongAnswerError(done.stderr.strip().splitlines()[-1] if done.stderr else "no answer")
        return json.loads(done.stdout), part.read_bytes()
    headers = {"Content-Type": "application/json"}
    body = (model / "request.json").read_bytes()
    if protocol == "rest-binary":
        headers = {"Content-Type": "application/octet-stream"}
        headers["Inference-Header-Content-Length"] = (model / "request.bin.header").read_text()
        body = (model / "request.bin").read_bytes()
    url = f"http://127.0.0.1:{ports[0]}/v2/models/{name}/infer"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as response:
            answer = response.read()
    except urllib.error.HTTPError as error:
        raise WrongAnswerError(f"status {error.code}: {error.read()[:300]!r}") from error
    found = re.search(rb'"data"\s*:\s*(\[[^\]]*\])', answer)
    if not found:
        raise WrongAnswerError(f"no data in the answer: {answer[:300]!r}")
    value = json.loads(found[1])
    while isinstance(value, list):
        value = value[0]
    return value, found[0]


def verify(protocol: str, model: Path, name: str, ports: tuple[int, int], client: Path) -> Path:
    """Raises unless the answer is right; the file holds the bytes that every answer must contain."""
    value, part = ask(protocol, model, name, ports, client)
    expected = json.loads((model / "expected.json").read_text())
    if abs(value - expected) > TOLERANCE:
        raise WrongAnswerError(f"answered {value}, the model says {expected}")
    file = model / f"part.{protocol}"
    file.write_bytes(part)
    return file
