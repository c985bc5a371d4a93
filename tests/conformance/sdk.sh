#!/usr/bin/env bash
# KServe's own Python SDK, its documentation's YAML files, and the examples, on a real platform.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(.venv/bin/python tests/conformance/environments.py sdk)
cd tests/conformance/sdk
"$python" -m pytest -q --confcutdir=. --rootdir=. -p no:cacheprovider "$@"
