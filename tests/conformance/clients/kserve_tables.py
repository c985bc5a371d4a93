"""What KServe's servers make of V1 bodies before they predict. Argument: a JSON file of `[columns, bodies]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kserve.utils.utils import get_predict_input


def made(body: dict[str, Any], columns: list[str] | None) -> dict[str, Any]:
    try:
        table = get_predict_input(body, columns=columns)
    except Exception as error:  # noqa: BLE001 - told
        return {"error": f"{type(error).__name__}: {error}"}
    if isinstance(table, pd.DataFrame):
        cells = table.astype(object).where(table.notna(), None)
        return {"columns": list(table.columns), "rows": cells.to_numpy().tolist()}
    return {"rows": np.asarray(table).tolist()}


columns, bodies = json.loads(Path(sys.argv[1]).read_text())
print(json.dumps([made(body, columns) for body in bodies]))
