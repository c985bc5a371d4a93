#!/usr/bin/env bash
# Tries the embedded API server with the real kubectl, which is built from the Go module proxy when it is not there yet.
set -euo pipefail
cd "$(dirname "$0")/../.."
KUBECTL=$(scripts/kubectl)
export KUBECTL KUBECTL_NEEDED=1
.venv/bin/python scripts/kubernetes-protobuf --check
.venv/bin/python -m pytest -q tests/conformance/test_kubectl.py tests/conformance/test_kubectl_exec.py "$@"
