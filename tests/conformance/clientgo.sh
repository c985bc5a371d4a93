#!/usr/bin/env bash
# Tries the embedded API server with client-go as controllers use it. Needs Go; modules come from the proxy once.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
command -v go >/dev/null || {
  echo "tests/conformance/clientgo.sh: no Go toolchain to build the client with. Install Go 1.24 or newer (https://go.dev/dl/)." >&2
  exit 1
}
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
(cd tests/conformance/clientgo && GOFLAGS="-mod=readonly -buildvcs=false" nice go build -o "$work/clientgo" .)
port=$(.venv/bin/python -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
export PYTHONPATH=$root/tests/unit/local/apiserver
.venv/bin/python -c "import apiserver_process, pathlib; apiserver_process.prepare(pathlib.Path('$work'), $port)"
.venv/bin/python tests/unit/local/apiserver/apiserver_process.py "$work" "$port" 2>"$work/server.log" &
server=$!
for _ in $(seq 300); do
  curl -skf "https://127.0.0.1:$port/readyz" >/dev/null && break
  sleep 0.1
done
"$work/clientgo" "$work/kubeconfig-admin" || { tail -20 "$work/server.log"; exit 1; }
