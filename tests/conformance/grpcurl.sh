#!/usr/bin/env bash
# grpcurl, built from the Go module proxy: it knows no proto file and learns everything by server reflection.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=v1.9.3
python=${PYTHON:-$PWD/.venv/bin/python}
if ! command -v go >/dev/null; then
  echo "grpcurl: skipped, go is not on the PATH (https://go.dev/dl)"
  exit 0
fi
grpcurl=$PWD/.cache/conformance/grpcurl-$version/grpcurl
[ -x "$grpcurl" ] || GOBIN=$(dirname "$grpcurl") go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$version"

folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
models=tests/conformance/models.py
"$python" -m modelport serve --model simple=$models:Simple --model echo=$models:Echo \
  --http-port 0 --grpc-port 0 >"$folder/out.txt" 2>"$folder/err.txt" &
server=$!
for _ in $(seq 1200); do
  grep -q '^Ctrl-C' "$folder/out.txt" && break
  kill -0 $server 2>/dev/null || break
  sleep 0.1
done
address=$(awk '/^gRPC/ { print $2 }' "$folder/out.txt")
[ -n "$address" ] || { cat "$folder/out.txt" "$folder/err.txt" >&2; exit 1; }

call() { "$grpcurl" -plaintext -max-time 120 "$@" 2>&1; }
expect() { # WHAT PATTERN COMMAND…
  local what=$1 pattern=$2 said
  shift 2
  said=$("$@") || true
  if ! tr -d ' \n' <<<"$said" | grep -qE -- "$pattern"; then
    echo "error: $what: expected $pattern, got:" >&2
    echo "$said" >&2
    exit 1
  fi
  echo "ok: $what"
}

service=inference.GRPCInferenceService
tensor() { printf '{"name": "%s", "datatype": "INT32", "shape": [1, 16], "contents": {"int_contents": [%s]}}' "$1" "$2"; }
sixteen=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16
request="{\"model_name\": \"simple\", \"id\": \"7\", \"inputs\": [$(tensor INPUT0 $sixteen), $(tensor INPUT1 $sixteen)]}"
raw='{"model_name": "echo", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2]}], "raw_input_contents": ["AACAPwAAAEA="]}'

expect "list" "grpc.health.v1.Health.*$service" call "$address" list
expect "list its methods" "$service.ModelInfer$service.ModelMetadata" call "$address" list $service
expect "describe it" "rpcModelStreamInfer\(stream" call "$address" describe $service
expect "describe a message" "repeated.*InferInputTensorinputs=5;" call "$address" describe inference.ModelInferRequest
expect "describe health" "rpcCheck\(" call "$address" describe grpc.health.v1.Health
for reflection in v1 v1alpha; do
  expect "reflection $reflection" "\"name\":\"$service\"" \
    call -d '{"list_services": ""}' "$address" grpc.reflection.$reflection.ServerReflection/ServerReflectionInfo
done
expect "server ready" '"ready":true' call "$address" $service/ServerReady
expect "health check" '"status":"SERVING"' call "$address" grpc.health.v1.Health/Check
expect "a model's health" '"status":"SERVING"' call -d '{"service": "simple"}' "$address" grpc.health.v1.Health/Check
expect "metadata" '"name":"INPUT0","datatype":"INT32"' call -d '{"name": "simple"}' "$address" $service/ModelMetadata
expect "infer" '"intContents":\[2,4,6,8,10,12,14,16,18,20,22,24,26,28,30,32\]' call -d "$request" "$address" $service/ModelInfer
expect "infer, raw" '"rawOutputContents":\["AACAPwAAAEA="\]' call -d "$raw" "$address" $service/ModelInfer
expect "a stream of two" '"id":"7".*"id":"7"' call -d "$request $request" "$address" $service/ModelStreamInfer
expect "no such model" 'NotFound.*Modelwithnamenothingdoesnotexist' \
  call -d '{"model_name": "nothing"}' "$address" $service/ModelInfer
expect "compressed" '"intContents":\[2,4' call -H 'grpc-accept-encoding: gzip' -d "$request" "$address" $service/ModelInfer
kill $server
wait $server
