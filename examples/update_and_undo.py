"""A new version, a bad one, and the way back, while somebody asks all the time. Wants a running platform.

    modelport up --detach
    python examples/update_and_undo.py

Version 1 answers 0, version 2 answers 1, and "version 3" is a folder that is not there. Whoever asks sees 0, then 1, and
never an error: a new version gets requests once it has answered, and one that never does gets none.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.dummy import DummyClassifier

import modelport

COMMAND = [sys.executable, "-m", "modelport"]
NAME = "versions"
ROWS = np.zeros((2, 1))


def run(*words: str, given: str | None = None, fails: bool = False) -> str:
    """A command's output."""
    print(f"$ modelport {' '.join(words)}")
    done = subprocess.run([*COMMAND, *words], input=given, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode and not fails:
        raise SystemExit(f"it failed with {done.returncode}")
    return done.stdout


def use(folder: Path, *, fails: bool = False) -> None:
    """Points the service at a folder, as any change of its spec is made, and waits for what becomes of it."""
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": f"file://{folder}"}
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": NAME},
        "spec": {"predictor": {"model": model}},
    }
    run("apply", "-f", "-", given=json.dumps(service))
    run("rollout", "status", NAME, fails=fails)


def ask() -> int:
    """What it answers now."""
    answer = json.loads(run("predict", NAME, "-d", '{"instances": [[0.0]]}'))["predictions"][0]
    print(f"→ {answer}")
    return answer


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        for version in (1, 2):
            model = DummyClassifier(strategy="constant", constant=version - 1).fit(ROWS, [0, 1])
            modelport.save(model, here / str(version), example=ROWS[:1])
        try:
            use(here / "1")
            assert ask() == 0
            use(here / "2")
            assert ask() == 1
            use(here / "3", fails=True)  # says why, and what to do
            assert ask() == 1, "the version before serves on"
            print(run("rollout", "undo", NAME), end="")
            run("rollout", "status", NAME)
            assert ask() == 1
            print(run("rollout", "history", NAME), end="")
        finally:
            run("delete", "isvc", NAME, "--ignore-not-found")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
