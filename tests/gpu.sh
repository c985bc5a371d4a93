#!/usr/bin/env bash
# PyTorch on a GPU, for a machine that has one: PYTHON names an interpreter with modelport, a CUDA build of torch,
# pytest and hypothesis. Elsewhere these tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" - <<'CHECK'
import torch
assert torch.cuda.is_available(), "torch sees no GPU"
print(torch.__version__, torch.cuda.get_device_name(0))
CHECK
"$python" -m pytest -q -m torch -p no:cacheprovider tests/unit/runtimes/test_torch.py tests/e2e/test_gpu.py "$@"
