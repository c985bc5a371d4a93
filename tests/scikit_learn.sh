#!/usr/bin/env bash
# scikit-learn's older releases, each in an environment of its own, for `make test` has the newest alone: the oldest that
# may be installed, and of those that have shortcuts the oldest and the middle one.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
uv=.venv/bin/uv
tests=tests/unit/runtimes
in_release() { # RELEASE TEST…
  local env=.cache/scikit-learn-$1
  [ -x "$env/bin/python" ] || "$uv" venv --quiet --python .venv/bin/python "$env"
  "$uv" pip install --quiet --python "$env/bin/python" "scikit-learn==$1.*" 'joblib>=1.3' 'pandas>=2.0' 'skops>=0.10' \
    msgspec xgboost-cpu pytest hypothesis
  echo "scikit-learn $1"
  PYTHONPATH=src "$env/bin/python" -m pytest -q "${@:2}"
}

in_release "$(sed -nE 's/^sklearn = \["scikit-learn>=([0-9.]+)".*/\1/p' pyproject.toml)" $tests/test_sklearn.py
for release in $(.venv/bin/python - <<'PY'
from modelport.runtimes.shortcut.family import VERSIONS

known = sorted(VERSIONS)
for release in known[0], known[len(known) // 2]:
    print(*release, sep=".")
PY
); do
  in_release "$release" $tests/test_sklearn.py $tests/test_shortcut.py $tests/test_shortcut_columns.py \
    $tests/test_shortcut_proof.py
done
echo "scikit-learn: ok"
