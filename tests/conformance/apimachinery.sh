#!/usr/bin/env bash
# Kubernetes' own conformance tests of the API machinery, run against a platform: they are the judge of its API server.
# Needs Go; the first build takes minutes and is kept in .cache/bin. What cannot pass is in apimachinery/explained.txt,
# each with its reason: the stage fails where another test fails, and where one of those passes.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD source=$PWD/tests/conformance/apimachinery
command -v go >/dev/null || {
  echo "tests/conformance/apimachinery.sh: no Go toolchain to build Kubernetes' tests with. Install Go 1.24 or newer (https://go.dev/dl/)." >&2
  exit 1
}
bin=${BIN:-$root/.cache/bin}
mkdir -p "$bin"
program=$bin/apimachinery-$(cat "$source/main.go" "$source/go.mod" "$source/go.sum" <(go version) | sha256sum | cut -c1-12)
exec 9>"$bin/.apimachinery.lock"
flock 9
if [ ! -x "$program" ]; then
  (cd "$source" && GOFLAGS="-mod=readonly -buildvcs=false" nice go build -trimpath -ldflags "-s -w" -o "$program.new" .)
  mv "$program.new" "$program"
fi
flock -u 9
kubectl=$(scripts/kubectl)
modelport=$root/.venv/bin/modelport
folder=$(mktemp -d)
export MODELPORT_DIR=$folder/platform KUBECACHEDIR=$folder/cache
trap '"$modelport" down >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
port=$(.venv/bin/python -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
"$modelport" up --detach --port "$port" >"$folder/up.log" 2>&1 || { cat "$folder/up.log" >&2; exit 1; }
KUBECONFIG=$("$modelport" kubeconfig)
export KUBECONFIG
"$kubectl" wait --for=condition=Ready node --all --timeout=120s >/dev/null
# Their own check that each namespace has `kube-root-ca.crt` is for pods that mount it; there are none here.
# The suite's exit status says no more than the report, which the judge reads.
(cd "$folder" && nice "$program" --provider=skeleton --kubeconfig="$KUBECONFIG" --kubectl-path="$kubectl" \
  --e2e-verify-service-account=false --report-dir="$folder" --ginkgo.no-color --ginkgo.v --ginkgo.timeout=40m \
  --ginkgo.focus="$("$root/.venv/bin/python" "$source/judge.py" focus)" \
  --ginkgo.skip="$("$root/.venv/bin/python" "$source/judge.py" skip)" >"$folder/tests.log" 2>&1) || true
"$root/.venv/bin/python" "$source/judge.py" judge "$folder"/junit*.xml || {
  grep -aE '^  \[FAILED\]|^  In \[It\] at|Panicked' "$folder/tests.log" | cut -c1-400 | head -120 >&2
  tail -5 "$folder/tests.log" >&2
  exit 1
}
