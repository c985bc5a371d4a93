#!/usr/bin/env bash
# schemathesis makes requests of /openapi.json, good and bad ones, and looks for answers that it does not promise.
# SECONDS_EACH says for how long (default 60).
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-$PWD/.venv/bin/python}
schemathesis=$(dirname "$("$python" tests/conformance/environments.py schemathesis)")/schemathesis
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
"$python" - "$folder/iris" <<'PY'
import sys

import modelport
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

rows, kind = load_iris(return_X_y=True, as_frame=True)
modelport.save(LogisticRegression(max_iter=1000).fit(rows, kind), sys.argv[1], example=rows.iloc[[0, 60]])
PY
models=tests/conformance/models.py
"$python" -m modelport serve --model iris="$folder/iris" --model simple=$models:Simple --model echo=$models:Echo \
  --http-port 0 --grpc-port 0 >"$folder/out.txt" 2>"$folder/err.txt" &
server=$!
for _ in $(seq 1200); do
  grep -q '^Ctrl-C' "$folder/out.txt" && break
  kill -0 $server 2>/dev/null || break
  sleep 0.1
done
address=$(awk '/^REST/ { print $2 }' "$folder/out.txt")
# Not checked: that what fits the schema is accepted. A model may still refuse rows, and says why.
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance
checks+=,response_schema_conformance,unsupported_method,allow_header_conformance
cd "$folder"
if [ -z "$address" ] || ! "$schemathesis" run "$address/openapi.json" --max-time "${SECONDS_EACH:-60}" \
  --checks $checks --phases examples,coverage,fuzzing --continue-on-failure --no-color; then
  cat out.txt err.txt >&2
  exit 1
fi
kill $server
wait $server
test ! -s err.txt || { echo "error: the server has written to stderr:"; cat err.txt; exit 1; } >&2
