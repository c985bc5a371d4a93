"""What a call of scikit-learn's own methods costs, and what the shortcuts to the same answers do, in this process.

    python benchmarks/shortcuts.py               # a table for README.md, in microseconds a call

Each figure is processor time, and the least of several repetitions: of a machine that does other things too, the least
disturbed.
Both ways are called as the server calls them, with arrays that it has decoded; loading tells what the proof costs.
"""

from __future__ import annotations

import argparse
import time
import timeit
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from modelport.runtimes.sklearn import SklearnModel
from modelport.server.runtime import Settings

ROWS = (1, 64)

Case = tuple[str, Any, dict[str, Any]]
"""What it is called, the fitted model, and a table for each of ROWS."""


def cases() -> Iterator[Case]:
    """Models of numbers, then one of a table with text."""
    x, y = load_breast_cancer(return_X_y=True)
    numbers = {str(rows): {"": np.ascontiguousarray(x[:rows])} for rows in ROWS}
    for name, model in {
        "LogisticRegression": LogisticRegression(max_iter=5000),
        "LogisticRegression behind StandardScaler": make_pipeline(StandardScaler(), LogisticRegression()),
        "SVC behind StandardScaler and PCA": make_pipeline(StandardScaler(), PCA(5), SVC()),
        "Ridge": Ridge(),
        "GaussianNB": GaussianNB(),
        "DecisionTreeClassifier": DecisionTreeClassifier(random_state=0),
        "RandomForestClassifier, 100 trees": RandomForestClassifier(100, random_state=0),
        "RandomForestClassifier, 1000 trees": RandomForestClassifier(1000, random_state=0),
        "RandomForestRegressor, 100 trees": RandomForestRegressor(100, random_state=0),
        "GradientBoostingClassifier, 100 trees": GradientBoostingClassifier(random_state=0),
        "HistGradientBoostingClassifier, 100 trees": HistGradientBoostingClassifier(random_state=0),
    }.items():
        yield name, model.fit(x, y), numbers
    yield from tables()


def tables() -> Iterator[Case]:
    """Passengers: two columns of numbers, two of text, with gaps."""
    chance = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": chance.uniform(1, 80, 500),
            "fare": chance.exponential(30, 500),
            "city": chance.choice(["Bern", "Rom", "Wien"], 500),
            "sex": chance.choice(["f", "m"], 500),
        }
    )
    labels = (frame["fare"] > 20).to_numpy()
    frame.loc[::7, "age"] = np.nan
    inputs = {str(rows): {name: frame[name].to_numpy()[:rows] for name in frame.columns} for rows in ROWS}
    inputs = {
        rows: {
            name: np.array(values.tolist(), object if name in ("city", "sex") else float)
            for name, values in each.items()
        }
        for rows, each in inputs.items()
    }
    for name, last in {
        "LogisticRegression": LogisticRegression(),
        "RandomForestClassifier, 100 trees,": RandomForestClassifier(100, random_state=0),
    }.items():
        split = make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "fare"]),
            (OneHotEncoder(handle_unknown="ignore"), ["city", "sex"]),
        )
        yield (
            f"{name} behind ColumnTransformer with text",
            make_pipeline(split, last).fit(frame, labels),
            inputs,
        )


def microseconds(call: Callable[[], object]) -> float:
    """Processor time a call: the least of nine repetitions, each of about 20 ms."""
    call()
    once = min(timeit.repeat(call, number=1, repeat=3))
    number = max(1, int(0.02 / once))
    return min(timeit.repeat(call, timer=time.process_time, number=number, repeat=9)) / number * 1e6


def measured(case: Case) -> list[str]:
    """A line of the table."""
    name, model, inputs = case
    own = SklearnModel(model, Settings(shortcuts=False), "sklearn_joblib")
    began = time.process_time()
    quick = SklearnModel(model, Settings(), "sklearn_joblib")
    proof = time.process_time() - began
    cells = [name]
    for rows in map(str, ROWS):
        before = microseconds(lambda rows=rows: own.predict(inputs[rows], {}))
        after = microseconds(lambda rows=rows: quick.predict(inputs[rows], {}))
        cells += [f"{before:,.0f}", f"{after:,.1f}" if after < 100 else f"{after:,.0f}"]
    if not quick.remarks:
        cells[0] += " (no shortcut)"
    return [*cells, f"{proof * 1000:.0f}"]


def main() -> None:
    """Prints the table."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    warnings.simplefilter("ignore")
    heads = [f"{rows} row{'' if rows == 1 else 's'}, {way}" for rows in ROWS for way in ("own", "shortcut")]
    print(f"| `predict` of | {' | '.join(heads)} | loading it, ms |")
    print(f"| --- {'| ---: ' * (len(heads) + 1)}|")
    for case in cases():
        print(f"| {' | '.join(measured(case))} |", flush=True)


if __name__ == "__main__":
    main()
