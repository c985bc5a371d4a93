"""KServe's own end-to-end tests, unchanged, with this platform for their cluster: those that its Python servers pass.

What is left out, and why, is in `docs/compatibility.md`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from sdk_platform import ROOT, Platform

E2E = ROOT / "tests" / "conformance" / "kserve_e2e"
LEFT_OUT = (
    "test_sklearn_runtime_kserve",  # counts processes of Python's multiprocessing in the container
    "test_isvc_with_multiple_container_port",  # an image of KServe's CI
    "test_lightgbm_v2",  # compare the last digits of one trained model
)
SUITES = {
    "sklearn": ["predictor/test_sklearn.py"],
    "xgboost": ["predictor/test_xgboost.py"],
    "lightgbm": ["predictor/test_lightgbm.py"],
    "predictive": ["predictor/test_predictive.py"],
    "raw": ["predictor/test_raw_deployment.py", "batcher/test_raw_batcher.py"],
}
LIMIT_S = 1500


@pytest.fixture(scope="module")
def started(platform: Platform) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All suites at once, each in a namespace of its own: they spend their time in sleeping."""
    without = " and ".join(f"not {name}" for name in LEFT_OUT)
    options = ["-q", "--confcutdir=.", "-p", "no:cacheprovider", "-o", "log_cli=0", "-k", without]
    suites: dict[str, subprocess.Popen[str]] = {}
    try:
        for suite, files in SUITES.items():
            namespace = f"kserve-e2e-{suite}"
            platform.must("kubectl", "create", "namespace", namespace)
            suites[suite] = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, *files],
                cwd=E2E,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=platform.environment
                | {"KSERVE_INGRESS_HOST_PORT": platform.gateway, "KSERVE_TEST_NAMESPACE": namespace},
            )
        yield suites
    finally:
        for process in suites.values():
            process.kill()
            process.wait()


@pytest.mark.parametrize("suite", SUITES)
def test_kserves_own_tests_pass(started: dict[str, subprocess.Popen[str]], suite: str) -> None:
    said, _ = started[suite].communicate(timeout=LIMIT_S)
    assert started[suite].returncode == 0, said[-6000:]
