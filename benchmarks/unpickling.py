"""What loading takes of a processor, by `joblib.load` and by Modelport's reader, for models of several kinds.

    python benchmarks/unpickling.py

Processor time of the thread that loads, in ms, the least of some interleaved loads: nearly all of joblib's is spent
under the interpreter's lock.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelport.runtimes import joblibfile

TIMES = 15


def models() -> dict[str, Any]:
    """Fitted."""
    features, labels = load_digits(return_X_y=True)
    chance = np.random.default_rng(0)
    words = ["".join(map(chr, chance.integers(97, 123, 6))) for _ in range(50_000)]
    texts = [" ".join(words[start : start + 20]) for start in range(0, len(words), 20)]
    return {
        "random forest, 100 trees": RandomForestClassifier(100, random_state=0).fit(features, labels),
        "gradient boosting, 1,000 trees": GradientBoostingClassifier(max_depth=2).fit(features, labels),
        "histogram gradient boosting, 500 trees": HistGradientBoostingClassifier(max_iter=50).fit(
            features, labels
        ),
        "scaler and regression": make_pipeline(StandardScaler(), LogisticRegression()).fit(features, labels),
        "TF-IDF, 50,000 words": make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
            texts, [row % 2 for row in range(len(texts))]
        ),
        "nearest neighbours, 80 MB": KNeighborsClassifier(algorithm="brute").fit(
            np.zeros((100_000, 100)), np.arange(100_000) % 2
        ),
    }


def least_ms(loads: list[Callable[[Path], object]], path: Path) -> list[float]:
    """Of each."""
    took: list[list[float]] = [[] for _ in loads]
    for _ in range(TIMES):
        for load, times in zip(loads, took, strict=True):
            begun = time.thread_time()
            load(path)
            times.append(time.thread_time() - begun)
    return [min(times) * 1000 for times in took]


def main() -> int:
    """The command."""
    gc.disable()
    lines = ["| model | MB | joblib | ours | |", "| --- | --- | --- | --- | --- |"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.joblib"
        for name, model in models().items():
            for how, compress in (("", 0), (", compressed by zlib", 3)):
                joblib.dump(model, path, compress=compress)
                theirs, ours = least_ms([joblib.load, joblibfile.load], path)
                size = f"{path.stat().st_size / 1e6:.2f}"
                lines.append(f"| {name}{how} | {size} | {theirs:.2f} | {ours:.2f} | {theirs / ours:.1f}x |")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
