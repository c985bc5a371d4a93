"""`kubectl exec`: the command finds what the container's own process found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest

from modelport.kube.errors import ApiError
from modelport.local.execute import execution
from modelport.local.folder import Folder, Settings
from modelport.local.node.record import FILE, Kept

SETTINGS = Settings(gateway_port=8080, api_port=6443, pod_network="127.77")


def pod(state: dict) -> dict:
    status = {"name": "main", "containerID": f"process://{os.getpid()}", "state": state}
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "1"},
        "spec": {"containers": [{"name": "main", "env": [{"name": "A", "value": "b"}]}]},
        "status": {"podIP": "127.77.1.1", "containerStatuses": [status]},
    }


def run(item: dict, folder: Path):
    return execution(item, "main", ["pip", "list"], lambda *_: None, SETTINGS, Folder(folder))


def test_the_models_own_environment_comes_first(tmp_path):
    """`kubectl exec … -- pip list` must show the packages of the model, not the platform's."""
    home = tmp_path / "pods" / "default_p_1"
    home.mkdir(parents=True)
    kept = Kept(
        namespace="default",
        name="p",
        uid="1",
        ip="127.77.1.1",
        started_at="",
        containers={},
        pythons={"main": "/envs/key/bin/python"},
    )
    (home / FILE).write_bytes(msgspec.json.encode(kept))
    found = run(pod({"running": {}}), tmp_path).environment
    assert found["PATH"].split(":")[0] == "/envs/key/bin"
    assert (found["A"], found["POD_IP"]) == ("b", "127.77.1.1")


def test_without_one_it_is_the_platforms(tmp_path):
    found = run(pod({"running": {}}), tmp_path).environment
    assert found["PATH"].split(":")[0] == str(Path(sys.executable).parent)


def test_a_container_that_does_not_run_is_told(tmp_path):
    with pytest.raises(ApiError, match='container "main" of pod "p" does not run'):
        run(pod({"waiting": {}}), tmp_path)
