#!/usr/bin/env bash
# The PyTorch runtime, in an environment of its own: torch is gigabytes large, and `make test` stays small without it.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
env=.cache/torch
free_gb=$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1024 / 1024))
if [ ! -x $env/bin/python ] && [ "$free_gb" -lt 12 ]; then
  echo "NOT TESTED: PyTorch's environment takes 6 GB while it is built, and this disk has $free_gb GB free" >&2
  exit 0
fi
uv=.venv/bin/uv
if [ ! -x $env/bin/python ]; then
  "$uv" venv --quiet --python .venv/bin/python $env
fi
"$uv" pip install --quiet --python $env/bin/python 'torch>=2.4' numpy msgspec pytest hypothesis scikit-learn onnxruntime
PYTHONPATH=src $env/bin/python -m pytest -q -m torch tests/unit/runtimes/test_torch.py "$@"
