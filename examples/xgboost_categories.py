"""An XGBoost model with a column of text: train it, save it, and see what a server then knows of it.

    python examples/xgboost_categories.py ./tips
    modelport serve ./tips
    curl localhost:8080/v1/models/tips:predict -d '{"instances": [{"bill": 24.5, "size": 2, "day": "Sun"}]}'

A day that is not among the categories of training is refused.
"""

import sys

import numpy as np
import pandas as pd
import xgboost

import modelport


def table(rows: int = 400) -> tuple[pd.DataFrame, pd.Series]:
    """Bills of a made-up restaurant, where people tip more on Sundays."""
    chance = np.random.default_rng(7)
    bills = pd.DataFrame(
        {
            "bill": chance.gamma(4.0, 6.0, rows).round(2),
            "size": chance.integers(1, 7, rows),
            "day": pd.Categorical(chance.choice(["Thu", "Fri", "Sat", "Sun"], rows)),
        }
    )
    return bills, 0.12 * bills["bill"] + 0.4 * bills["size"] + 2.0 * (bills["day"] == "Sun")


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else "tips"
    bills, tips = table()
    model = xgboost.XGBRegressor(n_estimators=50, enable_categorical=True).fit(bills, tips)
    modelport.save(model, folder, example=bills.head(), overwrite=True)
    print(f"saved to {folder}; next: modelport serve {folder}")
