#!/usr/bin/env bash
# The PyTorch runtime, in an environment of its own: torch is gigabytes large, and `make test` stays small without it.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
env=.cache/torch
uv=.venv/bin/uv
if [ ! -x $env/bin/python ]; then
  "$uv" venv --quiet --python .venv/bin/python $env
fi
"$uv" pip install --quiet --python $env/bin/python 'torch>=2.4' numpy msgspec pytest hypothesis scikit-learn onnxruntime
PYTHONPATH=src $env/bin/python -m pytest -q -m torch tests/unit/runtimes/test_torch.py "$@"
