"""The embedded API server for foreign clients: a process over TLS, kubectl, and a node's part by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT / "tests/unit/local/apiserver"))  # how a server is started is written once

from apiserver_running import Process, running  # noqa: E402

__all__ = ["Kubectl", "Process", "find_kubectl", "running"]


def find_kubectl() -> str:
    """The kubectl to try: $KUBECTL, or the one that scripts/kubectl has built. Skips the test without one.

    tests/conformance/kubectl.sh builds it first, and then nothing is skipped.
    """
    name = os.environ.get("KUBECTL")
    if name:
        return name
    built = sorted((ROOT / ".cache/bin").glob("kubectl-*"))
    if not built:
        if os.environ.get("KUBECTL_NEEDED"):
            pytest.fail("no kubectl: scripts/kubectl builds it")
        pytest.skip("no kubectl here: tests/conformance/kubectl.sh builds one (needs Go) and runs this")
    return str(built[-1])


class Kubectl:
    """Runs kubectl against one server, as one role, in one namespace."""

    def __init__(
        self, program: str, server: Process, folder: Path, namespace: str, role: str = "admin"
    ) -> None:
        self.program, self.server, self.folder, self.namespace, self.role = (
            program,
            server,
            folder,
            namespace,
            role,
        )
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KUBECONFIG": str(server.folder / f"kubeconfig-{role}"),
            # Its cache of what a server serves lasts six hours, by host and port: ours reuse both.
            "KUBECACHEDIR": str(server.folder / "kubectl-cache"),
            "KUBECTL_KYAML": "false",
        }

    def run(
        self,
        *words: str,
        input: str | None = None,  # noqa: A002 - as in subprocess
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """What came of it."""
        return subprocess.run(
            [self.program, "-n", self.namespace, *words],
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=self.environment | environment,
        )

    def __call__(self, *words: str, input: str | None = None, **environment: str) -> str:  # noqa: A002
        """Its output, if it went well."""
        done = self.run(*words, input=input, **environment)
        assert done.returncode == 0, (
            f"kubectl {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def fails(self, *words: str, input: str | None = None, code: int = 1) -> str:  # noqa: A002
        """Its words, if it went wrong."""
        done = self.run(*words, input=input)
        assert done.returncode == code, (
            f"kubectl {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout + done.stderr

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A kubectl that goes on."""
        return subprocess.Popen(
            [self.program, "-n", self.namespace, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )

    def as_role(self, role: str) -> Kubectl:
        """The same with another role's token."""
        return Kubectl(self.program, self.server, self.folder, self.namespace, role)

    def set_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        """What a controller or the node would write."""
        import json

        self(
            "patch", kind, name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status})
        )
