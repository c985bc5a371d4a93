"""A real platform, by its command, with models of ours where KServe's documentation has its buckets."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
COMMANDS = Path(os.environ.get("MODELPORT_BIN", ROOT / ".venv" / "bin"))
PATIENCE_S = 120
BUCKETS = {
    "gs://kfserving-examples/": "",
    "gs://kserve-examples/": "",
    "gs://seldon-models/v1.16.0/": "models/",
    "s3://my-bucket/model": "models/sklearn/iris",
    "s3://bucket/sklearn/mnist.joblib": "models/sklearn/iris/model.joblib",
    "s3://example-models/sklearn": "models/sklearn/iris",
    "oci+fetch://ghcr.io/kliukovkin/kserve-oci-test-fixture:v1": "models/sklearn/iris",
    "oci+native://ghcr.io/my-org/my-sklearn-model:v1": "models/sklearn/iris",
    "oci://rhuss/kserving-example-sklearn:1.0": "models/sklearn/iris",
    "https://modelstoreaccount.blob.core.windows.net/model-store/": "models/sklearn/iris/",
    "https://github.com/tduffy000/kfserving-uri-examples/blob/master/sklearn/frozen/": "models/sklearn/iris/",
}
"""Where the documentation has its models, and what stands for it in `models.py`'s folder."""


class Platform(NamedTuple):
    """A running platform."""

    folder: Path
    gateway: str
    """Host and port."""
    kubeconfig: Path
    models: Path
    kubectl: str

    def run(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command of the platform, or kubectl; says what it said where it fails."""
        command = [self.kubectl if words[0] == "kubectl" else str(COMMANDS / words[0]), *words[1:]]
        return subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S * 2,
            env=self.environment,
        )

    def must(self, *words: str, given: str | None = None) -> str:
        """The same for what has to succeed; returns what it printed."""
        done = self.run(*words, given=given)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """What its commands find."""
        own = {
            "MODELPORT_DIR": str(self.folder),
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(self.folder.parent / "kubecache"),
        }
        return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own

    def status(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """An InferenceService's status."""
        found = self.run("kubectl", "get", "isvc", name, "-n", namespace, "-o", "json")
        return json.loads(found.stdout).get("status", {}) if found.returncode == 0 else {}

    def until(self, what: str, holds: Callable[[], Any]) -> Any:
        """Waits until something holds; returns it."""
        until = time.monotonic() + PATIENCE_S
        while not (found := holds()):
            assert time.monotonic() < until, f"{what} did not come within {PATIENCE_S} s"
            time.sleep(0.1)
        return found


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Platform]:
    """A platform below `folder`, of its own port, until the end of the block."""
    models, home = folder / "buckets", folder / "platform"
    trained = subprocess.run(
        [str(COMMANDS / "python"), str(HERE / "models.py"), str(models)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S * 3,
    )
    assert trained.returncode == 0, trained.stderr
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    kubectl = subprocess.run(
        [str(ROOT / "scripts" / "kubectl")],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S * 10,
    ).stdout.strip()
    found = Platform(home, f"127.0.0.1:{port}", home / "kubeconfig", models, kubectl)
    mirrors = [
        f"--mirror={bucket}={(models / below).as_uri()}{_end(bucket)}" for bucket, below in BUCKETS.items()
    ]
    try:
        found.must("modelport", "up", "--detach", "--port", str(port), *mirrors)
        yield found
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            found.run("modelport", "down")


def _end(bucket: str) -> str:
    return "/" if bucket.endswith("/") else ""
