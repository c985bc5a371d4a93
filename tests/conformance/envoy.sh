#!/usr/bin/env bash
# The same HTTPRoutes and the same requests through our gateway and through Envoy: status, backend, what the backend
# saw, and the answer must be the same, but for the differences that docs/compatibility.md explains.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-$PWD/.venv/bin/python}
exec "$python" -m pytest -q -p no:cacheprovider tests/conformance/envoy/differential.py "$@"
