#!/usr/bin/env bash
# Workers without a fork, as on macOS: the tests of workers, reloading and the repository once more, with spawned ones.
set -euo pipefail
cd "$(dirname "$0")/.."
MODELPORT_START_METHOD=spawn .venv/bin/python -m pytest -q \
  tests/e2e/test_workers.py tests/e2e/test_reload.py tests/e2e/test_repository.py tests/e2e/test_spawn.py "$@"
