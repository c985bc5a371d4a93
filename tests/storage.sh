#!/usr/bin/env bash
# Storage against real servers that are not Python, or too large for `make test`: S3 is among `make test`'s own.
# They are kept in MODELPORT_STORAGE_TOOLS, by default below .cache, which git ignores.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
python=.venv/bin/python
.venv/bin/uv pip install --quiet --python $python -r requirements-test.txt
.venv/bin/uv pip install --quiet --python $python 'model-signing>=1.1' 'pyopenssl>=24'  # modelport[signing]
.venv/bin/uv pip install --quiet --python $python 'azure-storage-file-share>=12' # what it signs is right
tools=${MODELPORT_STORAGE_TOOLS:-$PWD/.cache/storage}
mkdir -p "$tools/bin"
export MODELPORT_STORAGE_TOOLS=$tools
lacking=()

go_tool() { # NAME PACKAGE@VERSION
  [ -x "$tools/bin/$1" ] && return
  local built
  built=$(mktemp -d)
  (cd "$built" && GOBIN=$built go install "$2")
  mv "$built"/* "$tools/bin/$1" # the one program there: Go names it after the module, less a /v3 at its end
  rm -rf "$built"
}

if command -v go >/dev/null; then
  go_tool crane github.com/google/go-containerregistry/cmd/crane@v0.22.1
  go_tool distribution github.com/distribution/distribution/v3/cmd/registry@v3.0.0
  go_tool git-lfs github.com/git-lfs/git-lfs/v3@v3.8.1
  go_tool versitygw github.com/versity/versitygw/cmd/versitygw@v1.8.0
  go_tool fake-gcs-server github.com/fsouza/fake-gcs-server@v1.56.1
else
  lacking+=("go (oci, gs): https://go.dev/dl")
fi
if command -v npm >/dev/null; then
  if [ ! -d "$tools/azurite/node_modules/azurite" ]; then
    mkdir -p "$tools/azurite"
    npm install --prefix "$tools/azurite" --silent --no-audit --no-fund azurite@3
  fi
else
  lacking+=("npm (azure): https://nodejs.org")
fi
if ! command -v java >/dev/null || ! command -v mvn >/dev/null; then
  lacking+=("java and mvn (hdfs): a JDK of 11 or newer, and https://maven.apache.org")
elif [ ! -d "$tools/hadoop/lib" ]; then # Hadoop's daemons, 65 MB, and what Maven itself needs
  if mvn --batch-mode --quiet --file tests/e2e/hadoop.xml "-Dmaven.repo.local=$tools/hadoop/repository" \
    dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$tools/hadoop/new"; then
    mv "$tools/hadoop/new" "$tools/hadoop/lib"
  else
    lacking+=("Hadoop (hdfs): Maven could not fetch it, as it says above")
  fi
  rm -rf "$tools/hadoop/repository" "$tools/hadoop/new"
fi
if [ ! -x "$tools/mlflow/bin/python" ]; then
  free_gb=$(($(df -Pk "$tools" | awk 'NR == 2 { print $4 }') / 1024 / 1024))
  if [ "$free_gb" -ge 3 ]; then
    .venv/bin/uv venv --quiet --python $python "$tools/mlflow"
    .venv/bin/uv pip install --quiet --python "$tools/mlflow/bin/python" 'mlflow>=3'
  else
    lacking+=("3 GB of disk (mlflow)")
  fi
fi
if [ ! -x "$tools/giftless/bin/python" ]; then # a server of Git LFS; it does not say what it needs, and how old
  .venv/bin/uv venv --quiet --python $python "$tools/giftless"
  .venv/bin/uv pip install --quiet --python "$tools/giftless/bin/python" giftless==0.6.2 flask flask-classful \
    flask-marshmallow marshmallow webargs 'pyjwt<2.10' cryptography figcan python-dotenv pyyaml python-dateutil \
    azure-storage-blob google-cloud-storage boto3 cachetools importlib-metadata typing-extensions
fi
for what in "${lacking[@]}"; do
  echo "NOT TESTED for want of $what" >&2
done
$python -m pytest -q tests/e2e/test_storage_*.py "$@"
