"""What `modelport plan` says that this machine lacks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from modelport.cli.plan import missing_here


def service(model: dict[str, Any], **annotations: str) -> dict[str, Any]:
    return {
        "kind": "InferenceService",
        "metadata": {"name": "m", "annotations": annotations},
        "spec": {"predictor": {"model": model}},
    }


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a b.joblib").touch()
    model = {"modelFormat": {"name": "sklearn"}}
    there = service(model | {"storageUri": f"file://{tmp_path}/a%20b.joblib"})
    assert missing_here(there, []) == []
    away = service(model | {"storageUri": f"file://{tmp_path}/c.joblib"})
    (note,) = missing_here(away, [])
    assert f"{tmp_path}/c.joblib: no such folder or file on this machine" in note
    assert missing_here(service(model | {"storageUri": "s3://bucket/m"}), []) == []


def test_a_framework_that_is_not_installed_is_named_unless_something_else_serves_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    item = service({"modelFormat": {"name": "pytorch"}})
    assert missing_here(item, []) == [
        "spec.predictor: torch is not installed. Run: pip install 'modelport[torch]'"
    ]
    own = {
        "kind": "ClusterServingRuntime",
        "metadata": {"name": "r"},
        "spec": {"supportedModelFormats": [{"name": "pytorch"}]},
    }
    assert missing_here(item, [own]) == []
    assert missing_here(service({"modelFormat": {"name": "pytorch"}, "runtime": "mine"}), []) == []
    python = {"serving.modelport.io/python": "/opt/py"}
    assert missing_here(service({"modelFormat": {"name": "pytorch"}}, **python), []) == []
