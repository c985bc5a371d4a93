"""KServe's own end-to-end tests, unchanged, with this platform for their cluster: those that its Python servers pass.

What is left out, and why, is in `docs/compatibility.md`.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from sdk_platform import ROOT, Platform

E2E = ROOT / "tests" / "conformance" / "kserve_e2e"
LEFT_OUT = (
    "test_sklearn_runtime_kserve",  # counts processes of Python's multiprocessing in the container
    "test_isvc_with_multiple_container_port",  # an image of KServe's CI
    "test_lightgbm_runtime_kserve",  # rows as lists of dicts of one column each
    "test_lightgbm_v2",  # compare the last digits of one trained model
)
LIMIT_S = 1500


@pytest.mark.parametrize("suite", ["sklearn", "xgboost", "lightgbm", "predictive", "raw"])
def test_kserves_own_tests_pass(platform: Platform, suite: str) -> None:
    files = {"raw": ["predictor/test_raw_deployment.py", "batcher/test_raw_batcher.py"]}
    created = platform.run("kubectl", "create", "namespace", "kserve-ci-e2e-test")
    assert created.returncode == 0 or "AlreadyExists" in created.stderr
    chosen = files.get(suite, [f"predictor/test_{suite}.py"])
    without = " and ".join(f"not {name}" for name in LEFT_OUT)
    options = ["-q", "--confcutdir=.", "-p", "no:cacheprovider", "-o", "log_cli=0", "-k", without]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *chosen],
        cwd=E2E,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env=platform.environment | {"KSERVE_INGRESS_HOST_PORT": platform.gateway},
    )
    assert done.returncode == 0, done.stdout[-6000:]
