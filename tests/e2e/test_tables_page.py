"""The page about tables: its way out of pandas, with a gap and a date in the frame."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import modelport

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "tables.md"
FRAME = pd.DataFrame(
    {"age": [41.0, None, 7.0], "since": pd.to_datetime(["2024-05-01", "2024-05-03", "2024-06-01"])}
)


def days(frame):
    return pd.DataFrame({name: pd.to_datetime(frame[name]).dt.day for name in frame})


def test_a_frame_with_gaps_and_dates_is_sent_as_pandas_writes_it():
    """Lost otherwise: `json.dumps` of a frame's rows is what everybody tries first, and NaN is no JSON."""
    pytest.importorskip("requests")
    columns = make_column_transformer((SimpleImputer(), ["age"]), (FunctionTransformer(days), ["since"]))
    model = make_pipeline(columns, LinearRegression()).fit(FRAME, [1.0, 2.0, 3.0])
    (code,) = re.findall(r"```python\n(import requests\n.*?)```", PAGE.read_text(), re.DOTALL)
    with modelport.serve(model, example=FRAME, http_port=0, grpc_port=0) as server:
        known = {"frame": FRAME}
        exec(code.replace("http://localhost:8080", server.url).replace("churn", server.model), known)
    assert known["answer"].json()["predictions"] == pytest.approx([1.0, 2.0, 3.0])
