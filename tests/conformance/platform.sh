#!/usr/bin/env bash
# The real kubectl on a real platform: what people type every day. Each line fails where kubectl does.
set -euo pipefail
cd "$(dirname "$0")/../.."
kubectl=$(scripts/kubectl)
modelport=$PWD/.venv/bin/modelport
folder=$(mktemp -d)
export MODELPORT_DIR=$folder/platform KUBECACHEDIR=$folder/cache
port=$(.venv/bin/python -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
trap '"$modelport" down >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
.venv/bin/python - "$folder/iris" <<'PY'
import sys
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
import modelport
X, y = load_iris(return_X_y=True)
modelport.save(LogisticRegression(max_iter=1000).fit(X, y), sys.argv[1], example=X[:2])
PY
"$modelport" up --detach --port "$port" --mirror "gs://kfserving-examples/models/sklearn/1.0/model=file://$folder/iris"
KUBECONFIG=$("$modelport" kubeconfig)
export KUBECONFIG

k() { "$kubectl" --request-timeout=60s "$@"; }
says() { # PATTERN COMMAND…: the command's output has the pattern
  local pattern=$1 out
  shift
  out=$("$@" 2>&1) || { echo "error: $* failed: $out"; exit 1; }
  grep -qE -- "$pattern" <<<"$out" || { echo "error: $* does not say '$pattern': $out"; exit 1; }
}
refuses() { # PATTERN COMMAND…: the command fails and says why
  local pattern=$1 out
  shift
  if out=$("$@" 2>&1); then echo "error: $* was accepted: $out"; exit 1; fi
  grep -qE -- "$pattern" <<<"$out" || { echo "error: $* does not say '$pattern': $out"; exit 1; }
}

says "Server Version: v1" k version
says "inferenceservices +isvc +serving.kserve.io/v1beta1 +true" k api-resources
says "serving.kserve.io/v1beta1" k api-versions
says "^yes" k auth can-i create isvc
says "storageUri" k explain isvc.spec.predictor.model
says "kserve-sklearnserver" k get clusterservingruntimes

says "created" k apply -f examples/sklearn-iris.yaml
k wait --for=condition=Ready isvc/sklearn-iris --timeout=120s
says "unchanged|configured" k apply -f examples/sklearn-iris.yaml
says "sklearn-iris +http://sklearn-iris-default.example.com +True" k get isvc
says "sklearn-iris-predictor" k get deploy,rs,pods,svc,httproutes,endpointslices
says "True" k get isvc sklearn-iris -o "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
says "inferenceservice.serving.kserve.io/sklearn-iris" k get isvc -o name
says "kind: InferenceService" k get isvc sklearn-iris -o yaml
says "sklearn-iris" k get pods -l serving.kserve.io/inferenceservice=sklearn-iris -o wide
says "default +sklearn-iris" k get isvc -A
says "PredictorReady" k describe isvc sklearn-iris
says "warm-up ok" k logs deploy/sklearn-iris-predictor
says "successfully rolled out" k rollout status deploy/sklearn-iris-predictor --timeout=60s
answer=$(curl -sf -H "Host: sklearn-iris-default.example.com" "localhost:$port/v1/models/sklearn-iris:predict" -d @examples/iris-input.json)
test "$answer" = '{"predictions":[1,1]}' || { echo "error: got $answer"; exit 1; }

says "labeled" k label isvc sklearn-iris team=a
says "annotated" k annotate isvc sklearn-iris note=b
says "sklearn-iris" k get isvc -l team=a
refuses "." k get isvc nothing
says "patched" k patch isvc sklearn-iris --type json -p '[{"op":"add","path":"/metadata/labels/tier","value":"x"}]'
says "patched" k patch isvc sklearn-iris --type merge -p '{"metadata":{"labels":{"tier":"y"}}}'
says "serverside-applied" k apply --server-side --force-conflicts -f examples/sklearn-iris.yaml
says "edited|skipped" env EDITOR="sed -i s/tier/stage/" "$kubectl" edit isvc sklearn-iris
says "configured|unchanged" k apply -f examples/sklearn-iris.yaml
refuses "unknown field .*colour" k create -f - <<<'{"apiVersion":"serving.kserve.io/v1beta1","kind":"InferenceService","metadata":{"name":"x"},"spec":{"predictor":{"colour":1,"sklearn":{"storageUri":"s3://b"}}}}'
refuses "exactly one of" k create -f - <<<'{"apiVersion":"serving.kserve.io/v1beta1","kind":"InferenceService","metadata":{"name":"x"},"spec":{"predictor":{"xgboost":{},"sklearn":{"storageUri":"s3://b"}}}}'
says "created" k create secret generic s --from-literal=a=b
says "created" k create configmap c --from-literal=a=b
says "created" k create namespace other
says "Active" k get ns other
says "deleted" k delete ns other --timeout=60s
says "scaled" k scale deploy/sklearn-iris-predictor --replicas=1

says "patched" k patch isvc sklearn-iris --type merge -p '{"spec":{"predictor":{"model":{"storageUri":"file:///nope"}}}}'
k wait --for=jsonpath='{.status.modelStatus.transitionStatus}'=BlockedByFailedLoad isvc/sklearn-iris --timeout=60s
says "the previous version keeps serving" k describe isvc sklearn-iris
says "True" k get isvc sklearn-iris -o "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
"$modelport" rollout undo sklearn-iris
"$modelport" rollout status sklearn-iris
curl -sf -H "Host: sklearn-iris-default.example.com" "localhost:$port/v1/models/sklearn-iris:predict" -d @examples/iris-input.json >/dev/null
says "deleted" k delete isvc sklearn-iris
k wait --for=delete pod -l serving.kserve.io/inferenceservice=sklearn-iris --timeout=60s
says "No resources found" k get deploy,httproutes
echo "kubectl: ok"
