"""Train a scikit-learn model, serve it, ask it, and say what to try next: what `make run` does.

With CHECK=1 in the environment it ends after the first answers; otherwise it serves until Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import modelport

HOME = Path(os.environ.get("MODELPORT_EXAMPLES", Path.home() / ".cache" / "modelport" / "examples"))


def main() -> int:
    iris = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=1000).fit(iris.data.to_numpy(), iris.target)
    folder = HOME / "iris"
    modelport.save(model, folder, example=iris.data.head(2).to_numpy(), overwrite=True)
    print(f"trained a LogisticRegression on iris, saved it to {folder}\n")

    port = int(os.environ.get("HTTP_PORT", "8080"))
    command = [sys.executable, "-m", "modelport", "serve", str(folder), "--name", "iris"]
    command += ["--http-port", str(port), "--grpc-port", str(port + 1 if port else 0)]
    print("$", "modelport", *command[3:], flush=True)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = ""
    for line in server.stdout:
        print("  ", line, end="", flush=True)
        if line.startswith("REST"):
            address = line.split()[1]
        if line.startswith("Ctrl-C"):
            break
    if not address:
        return server.wait() or 1
    try:
        answer = ask(f"{address}/v1/models/iris:predict", {"instances": [[6.8, 2.8, 4.8, 1.4]]})
        print(
            f"\n$ curl {address}/v1/models/iris:predict -d '{{\"instances\": [[6.8, 2.8, 4.8, 1.4]]}}'\n{answer}"
        )
        rows = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [6.8, 2.8, 4.8, 1.4]}
        print("\n$ the same as an Open Inference (V2) request")
        print(ask(f"{address}/v2/models/iris/infer", {"inputs": [rows]}))
        if answer.strip() != '{"predictions":[1]}':
            print("error: expected class 1", file=sys.stderr)
            return 1
        print(f"\nnext: open {address}/docs, or serve a model of your own:")
        print("  .venv/bin/modelport serve ./your_model.joblib --http-port 9000 --grpc-port 9001")
        if os.environ.get("CHECK"):
            return 0
        print("\nserving until Ctrl-C", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def ask(url: str, body: object) -> str:
    request = urllib.request.Request(url, data=json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read().decode()


if __name__ == "__main__":
    sys.exit(main())
