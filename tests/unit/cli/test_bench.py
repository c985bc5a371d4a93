"""`modelport bench` tells a mistake before it measures, and without a traceback."""

from __future__ import annotations

import joblib
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from modelport.cli import main


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "iris.joblib"
    joblib.dump(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)), path)
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[]", 'it has no "inputs"'),
        ('{"instances": [[1, 2, 3, 4]]}', 'it has no "inputs"'),
        ('{"inputs": [{"name": "x"}]}', "missing required field"),
        ('{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP99", "data": [1, 2, 3, 4]}]}', "FP99"),
        ('{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [1, 2]}]}', "--data: "),
        (
            '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}',
            "takes 4 columns, got 2",
        ),
    ],
)
def test_a_wrong_request_is_told(iris, tmp_path, capsys, content, words):
    """Whoever measures with a request of their own would look at a stack trace of ours."""
    file = tmp_path / "request.json"
    if content is not None:
        file.write_text(content)
    assert main(["bench", str(iris), "-d", str(file)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert words in told


def test_an_empty_request_is_not_the_example(iris, capsys):
    """`-d "$BODY"` with a variable that is not set: figures of another request look like those that were asked for."""
    assert main(["bench", str(iris), "-d", ""]) == 2
    assert "--data: is empty" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_no_time_measures_nothing(iris, capsys, seconds):
    """A median of nothing was a stack trace."""
    assert main(["bench", str(iris), f"--seconds={seconds}"]) == 2
    assert "--seconds: must be more than 0, got" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_a_refusal(tmp_path):
    """The same exit code as of `modelport serve`."""
    assert main(["bench", str(tmp_path / "nope.joblib")]) == 1
