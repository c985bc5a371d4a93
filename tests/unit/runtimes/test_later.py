"""Modules that run when they are first asked for something: a model that does ask must not see a difference."""

import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelport.runtimes import later


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package `putoff`, whose `__init__` imports `putoff.tools` as libraries do: as a whole."""
    folder = tmp_path / "putoff"
    folder.mkdir()
    (folder / "__init__.py").write_text("from . import tools\nimport putoff.tools as same\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "putoff"]:
        del sys.modules[name]


def imported(folder: Path, tools: str):
    (folder / "tools.py").write_text(tools)
    with later.put_off(["putoff.tools"]):
        return importlib.import_module("putoff")


def test_it_runs_once_when_something_is_asked_of_it(package):
    found = imported(package, "import putoff.log\nputoff.log.RUNS.append(1)\nVALUE = 7\n")
    (package / "log.py").write_text("RUNS = []\n")
    assert later.is_put_off("putoff.tools")
    assert found.same is found.tools
    assert "putoff.log" not in sys.modules
    assert found.tools.VALUE == 7
    assert (found.tools.VALUE, importlib.import_module("putoff.tools").VALUE) == (7, 7)
    assert sys.modules["putoff.log"].RUNS == [1]
    assert not later.is_put_off("putoff.tools")


def test_it_can_be_listed_and_imported_from(package):
    found = imported(package, "__all__ = ['VALUE']\nVALUE = 7\n")
    assert "VALUE" in dir(found.tools)
    namespace: dict[str, object] = {}
    exec("from putoff.tools import *", namespace)
    assert namespace["VALUE"] == 7


def test_what_it_does_not_have_is_told_as_ever(package):
    found = imported(package, "VALUE = 7\n")
    with pytest.raises(AttributeError, match=r"putoff\.tools.*MISSING"):
        _ = found.tools.MISSING
    assert not hasattr(found.tools, "__wrapped__")


def test_asking_it_what_the_import_system_asks_does_not_run_it(package):
    found = imported(package, "raise RuntimeError\n")
    assert found.tools.__name__ == "putoff.tools"
    assert found.tools.__file__ == str(package / "tools.py")
    assert not hasattr(found.tools, "__path__")
    assert importlib.import_module("putoff.tools") is found.tools
    assert later.is_put_off("putoff.tools")


def test_an_error_of_its_own_comes_each_time(package):
    """A broken installation: the model that needs it says why, also when it is loaded again."""
    found = imported(package, "raise RuntimeError('no compiler')\n")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no compiler"):
            _ = found.tools.VALUE


def test_half_of_it_may_look_at_itself(package):
    """Modules that import each other in a circle ask for what is not there yet, and take the error as the answer."""
    found = imported(
        package,
        "import putoff.other\nAFTER = 1\n",
    )
    (package / "other.py").write_text("import putoff\nHAD = hasattr(putoff.tools, 'AFTER')\n")
    assert found.tools.AFTER == 1
    assert sys.modules["putoff.other"].HAD is False


def test_threads_that_ask_at_once_all_get_the_whole_of_it(package):
    """Two models that load at once."""
    found = imported(package, "import time\nFIRST = 1\ntime.sleep(0.1)\nLAST = 2\n")
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(found.tools.LAST)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [2] * 4


def test_others_are_imported_as_ever(package):
    found = imported(package, "VALUE = 7\n")
    (package / "plain.py").write_text("VALUE = 8\n")
    importlib.import_module("putoff.plain")
    assert not later.is_put_off("putoff.plain")
    with later.put_off(["json", "sys", "putoff.absent"]), pytest.raises(ModuleNotFoundError):
        importlib.import_module("putoff.absent")
    assert found.plain.VALUE == 8


PRELOADED = """
import sys
from modelport.runtimes import framework, later
framework.preload(["numpy", "scipy", "sklearn", "joblib", "sklearn.linear_model"])
print(all(later.is_put_off(name) for name in later.UNASKED))
print(sorted({"pandas", "unittest", "charset_normalizer"} & set(sys.modules)))
"""
ASKED = """
import numpy as np, scipy.stats
np.testing.assert_allclose(scipy.stats.mstats.gmean([1, 4]), 2)
from numpy.testing import assert_equal
print(np.f2py.__all__, later.is_put_off("numpy.testing"), later.is_put_off("numpy.f2py"))
"""


def test_scikit_learn_leaves_aside_what_models_do_not_ask_for():
    """Ten megabytes of every server; and a model that does ask gets it."""
    done = subprocess.run(
        [sys.executable, "-c", PRELOADED + ASKED], capture_output=True, text=True, check=True, timeout=120
    )
    first, second, third = done.stdout.splitlines()
    assert (first, second) == ("True", "[]")
    assert third.endswith("False False")
