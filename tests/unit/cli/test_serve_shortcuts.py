"""`--no-shortcuts` and its variable reach the model."""

from __future__ import annotations

import pytest

from modelport.cli.serve import plan_of


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.joblib"
    path.write_bytes(b"")
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "variable", "used"),
    [([], None, True), (["--no-shortcuts"], None, False), ([], "true", False), ([], "false", True)],
)
def test_shortcuts_are_used_unless_told_otherwise(model, arguments, variable, used, monkeypatch):
    """Lost otherwise: a way to tell whether a shortcut is at fault."""
    monkeypatch.delenv("MODELPORT_NO_SHORTCUTS", raising=False)
    if variable is not None:
        monkeypatch.setenv("MODELPORT_NO_SHORTCUTS", variable)
    plan = plan_of([model, *arguments])
    assert plan is not None
    assert plan.model.shortcuts is used
