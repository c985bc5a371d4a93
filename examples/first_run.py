"""Train a scikit-learn model, start the platform, deploy the model, ask it, say what to try next: `make run`.

With CHECK=1 in the environment the platform lives in a temporary folder and is stopped at the end; otherwise it goes
on in the background, in the default folder or in MODELPORT_DIR.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import modelport

HOME = Path(os.environ.get("MODELPORT_EXAMPLES", Path.home() / ".cache" / "modelport" / "examples"))
MODELPORT = [sys.executable, "-m", "modelport"]
ROW = [6.8, 2.8, 4.8, 1.4]


def main() -> int:
    if not os.environ.get("CHECK"):
        return walk()
    with tempfile.TemporaryDirectory(prefix="modelport-") as folder:
        os.environ["MODELPORT_DIR"] = folder
        try:
            return walk()
        finally:
            run("down")


def walk() -> int:
    iris = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=1000).fit(iris.data.to_numpy(), iris.target)
    folder = HOME / "iris"
    modelport.save(model, folder, example=iris.data.head(2).to_numpy(), overwrite=True)
    print(f"trained a LogisticRegression on iris, saved it to {folder}\n", flush=True)

    run("up", "--detach")
    run("deploy", str(folder), "--name", "iris")
    run("get", "isvc")
    run("predict", "iris", "-d", json.dumps({"instances": [ROW]}))

    gateway = status()["gateway"]
    url = f"http://{gateway}"
    print("$ the same with any HTTP client, here as an Open Inference (V2) request")
    rows = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW}
    answer = ask(f"{url}/v2/models/iris/infer", "iris-default.example.com", {"inputs": [rows]})
    print(json.dumps(answer))
    if answer["outputs"][0]["data"] != [1]:
        print("error: expected class 1", file=sys.stderr)
        return 1
    port = gateway.rpartition(":")[2]
    print(f"""
next: export KUBECONFIG=$(.venv/bin/modelport kubeconfig) and use kubectl
      curl http://iris-default.localhost:{port}/v1/models/iris:predict -d '{{"instances": [{ROW}]}}'
      .venv/bin/modelport deploy ./your_model.joblib
      .venv/bin/modelport down""")
    return 0


def run(*arguments: str) -> None:
    """A command as a person types it, and what it prints."""
    print("$ modelport", shlex.join(arguments), flush=True)
    done = subprocess.run([*MODELPORT, *arguments], check=False)
    print(flush=True)
    if done.returncode:
        raise SystemExit(done.returncode)


def status() -> dict:
    """What `modelport status -o json` prints."""
    return json.loads(subprocess.check_output([*MODELPORT, "status", "-o", "json"], text=True))


def ask(url: str, host: str, body: object) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Host": host}, method="POST")
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


if __name__ == "__main__":
    sys.exit(main())
