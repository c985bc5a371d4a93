"""A framework that is missing is named together with the command that installs it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from modelport.runtimes.framework import framework
from modelport.server.runtime import LoadError


def test_a_missing_framework_comes_with_its_command():
    """Lost otherwise: `No module named xgboost`, and the user does not know which extra brings it."""
    with pytest.raises(
        LoadError, match=r"no_such_framework: not installed.* pip install 'modelport\[xgboost\]'"
    ):
        framework("no_such_framework", "xgboost")


def test_a_framework_that_misses_something_itself_is_not_called_missing(tmp_path, monkeypatch):
    """Lost otherwise: the command is run again and again, and changes nothing."""
    (tmp_path / "half_installed.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        LoadError, match="half_installed: cannot be imported: No module named 'no_such_dependency'"
    ):
        framework("half_installed", "xgboost")


LATER = """
import numpy, threadpoolctl
from modelport.runtimes.framework import limit_threads
limit_threads(1)
before = len(threadpoolctl.threadpool_info())
import sklearn.ensemble
limit_threads(1)
pools = threadpoolctl.threadpool_info()
print(len(pools) > before, {pool["num_threads"] for pool in pools})
limit_threads(2)
print({pool["num_threads"] for pool in threadpoolctl.threadpool_info()})
"""


def test_libraries_that_come_later_are_limited_too():
    """Lost otherwise: what is looked up once misses OpenMP, and each prediction takes all processors."""
    many = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    said = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, env=many, check=True)
    assert said.stdout.splitlines() == ["True {1}", "{2}"]


LOOKED_UP = """
from modelport.runtimes import framework
framework.preload(["sklearn.linear_model"])
before = framework._pools.cache_info().misses
framework.limit_threads(1)
print(before, framework._pools.cache_info().misses)
"""


def test_libraries_are_looked_up_before_processes_are_forked():
    """Lost otherwise: a megabyte of each server, whose pages the search writes to, and some milliseconds of its start."""
    said = subprocess.run([sys.executable, "-c", LOOKED_UP], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["1", "1"]


def test_in_a_models_own_environment_its_file_is_what_lacks(monkeypatch):
    """What is installed beside the platform does not reach it: the command would be tried in vain."""
    monkeypatch.setattr(sys, "prefix", "/data/modelport/envs/d0147ded")
    monkeypatch.setattr(sys, "path", [*sys.path, "/data/modelport/envs/overlay"])
    with pytest.raises(LoadError, match=r"Add scikit-learn to the model's requirements\.txt or conda\.yaml"):
        framework("nosuchframework", "sklearn")


def test_in_an_environment_of_conda_the_command_is_what_lacks(monkeypatch):
    """Conda's stand in a folder `envs` too, and there is no model's file to add to."""
    monkeypatch.setattr(sys, "prefix", "/opt/conda/envs/churn")
    with pytest.raises(LoadError, match=r"Run: pip install 'modelport\[sklearn\]'"):
        framework("nosuchframework", "sklearn")
