#!/usr/bin/env bash
# KServe's own Python SDK, its documentation's YAML files and tutorials, its own end-to-end tests, and the examples, on
# a real platform. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."
environments=tests/conformance/environments.py
python=$(.venv/bin/python $environments sdk)
free_gb=$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1024 / 1024))
if compgen -G ".cache/conformance/tutorials-*/complete" >/dev/null || [ "$free_gb" -ge 12 ]; then
  TUTORIALS_PYTHON=$(.venv/bin/python $environments tutorials)
  export TUTORIALS_PYTHON
else
  echo "NOT TESTED: KServe's tutorials need PyTorch, whose environment takes 6 GB, and this disk has $free_gb GB free" >&2
fi
cd tests/conformance/sdk
"$python" -m pytest -q --confcutdir=. -p no:cacheprovider "$@"
