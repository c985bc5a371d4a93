#!/usr/bin/env bash
# The page at /docs in a real browser: Debian's Chromium, driven by playwright-core. SCREENSHOT says where the
# picture goes (default /tmp/docs.png).
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-$PWD/.venv/bin/python}
playwright=playwright-core@1.65.1

if ! command -v chromium >/dev/null; then
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  install="$sudo apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core"
  if ! { $sudo apt-get update -qq && $install; } >/dev/null; then
    echo "error: Chromium is missing. Run: $install" >&2
    exit 1
  fi
fi
command -v npm >/dev/null || { echo "error: npm is missing. Run: apt-get install nodejs npm" >&2; exit 1; }
cache=$PWD/.cache/browser
if [ "$(cat "$cache/installed" 2>/dev/null)" != "$playwright" ]; then
  mkdir -p "$cache"
  npm install --silent --no-audit --no-fund --prefix "$cache" "$playwright"
  echo "$playwright" >"$cache/installed"
fi

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
"$python" -m modelport serve --model iris="$folder/iris" --model simple=tests/conformance/models.py:Simple \
  --http-port 0 --grpc-port 0 >"$folder/out.txt" 2>"$folder/err.txt" &
server=$!
for _ in $(seq 1200); do
  grep -q '^docs' "$folder/out.txt" && break
  kill -0 $server 2>/dev/null || break
  sleep 0.1
done
url=$(awk '/^docs/ { print $2 }' "$folder/out.txt")
if [ -z "$url" ] || ! NODE_PATH="$cache/node_modules" node tests/browser/docs.spec.cjs "$url" "$folder/profile" "${SCREENSHOT:-/tmp/docs.png}"; then
  cat "$folder/out.txt" "$folder/err.txt" >&2
  exit 1
fi
