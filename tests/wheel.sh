#!/usr/bin/env bash
# The users' door: the wheel installs into an empty environment without Rust and answers a prediction.
set -euo pipefail
cd "$(dirname "$0")/.."
make wheel
wheel=$(ls -1t "$PWD"/dist/*.whl | head -1)
case $(basename "$wheel") in
  *-cp311-abi3-*) ;;
  *) echo "error: $wheel is not an abi3 wheel" >&2; exit 1 ;;
esac
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
uv=$PWD/.venv/bin/uv
"$uv" venv --quiet --python "$PWD/.venv/bin/python" "$folder/env"
"$uv" pip install --quiet --python "$folder/env/bin/python" "$wheel[sklearn]"
cd "$folder"
export PATH=/usr/bin:/bin
if command -v cargo >/dev/null; then echo "error: cargo is on the PATH: this would prove nothing" >&2; exit 1; fi
"$folder/env/bin/python" - <<'PY'
import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

joblib.dump(LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True)), "iris.joblib")
PY
"$folder/env/bin/modelport" serve ./iris.joblib --http-port 0 --grpc-port 0 >out.txt 2>err.txt &
server=$!
for _ in $(seq 600); do
  grep -q '^REST' out.txt && break
  kill -0 $server 2>/dev/null || { cat out.txt err.txt; exit 1; }
  sleep 0.1
done
address=$(awk '/^REST/ { print $2 }' out.txt)
answer=$("$folder/env/bin/python" -c "
import urllib.request
body = b'{\"instances\": [[6.8, 2.8, 4.8, 1.4]]}'
print(urllib.request.urlopen('$address/v1/models/iris:predict', body, timeout=60).read().decode())")
test "$answer" = '{"predictions":[1]}' || { echo "error: got $answer"; cat out.txt err.txt; exit 1; }
kill $server
wait $server
# The same, on the platform.
export MODELPORT_DIR=$folder/platform
port=$("$folder/env/bin/python" -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
trap '"$folder/env/bin/modelport" down 2>/dev/null || true; rm -rf "$folder"' EXIT
"$folder/env/bin/modelport" up --detach --port "$port"
"$folder/env/bin/modelport" deploy ./iris.joblib
answer=$("$folder/env/bin/modelport" predict iris -d '{"instances": [[6.8, 2.8, 4.8, 1.4]]}')
test "$answer" = '{"predictions":[1]}' || { echo "error: got $answer"; "$folder/env/bin/modelport" describe iris; exit 1; }
"$folder/env/bin/modelport" down
echo "wheel: ok ($(du -h "$wheel" | cut -f1) $(basename "$wheel"))"
