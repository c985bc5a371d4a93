#!/usr/bin/env bash
# Two models that need different versions of scikit-learn, from nothing but a requirements.txt each, side by side on one
# platform. Needs a package index. Then fifty kills at random (ROUNDS).
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
export PATH=$PWD/.venv/bin:$PATH MODELPORT_DIR=$folder/platform
trap 'modelport down >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT

python - "$folder" <<'PY'
import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

model = LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True))
for version in ("1.6.1", "1.7.2"):
    place = Path(sys.argv[1], f"iris-{version}")
    place.mkdir()
    joblib.dump(model, place / "model.joblib")
    (place / "requirements.txt").write_text(f"scikit-learn=={version}\n")
PY

modelport up --detach --port "$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
for version in 1.6.1 1.7.2; do
  name=iris-${version//./-}
  modelport deploy "$folder/iris-$version" --name "$name"
  modelport predict "$name" -d '{"instances": [[5.1, 3.5, 1.4, 0.2]]}' | grep -F '{"predictions":[0]}'
  modelport logs "$name" | grep -F "running $version" || { modelport logs "$name"; exit 1; }
done
modelport predict iris-1-6-1 -d '{"instances": [[5.1, 3.5, 1.4, 0.2]]}' >/dev/null
modelport down

MODELPORT_CHAOS_ROUNDS=${ROUNDS:-50} python -m pytest -q -s tests/e2e/test_node_chaos.py
echo "environments: ok"
