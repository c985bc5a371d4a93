#!/usr/bin/env bash
# The wheel for Linux on arm64, built here: its tags, its machine, the glibc that it needs, and what it exports.
# Nothing runs it: that takes an arm64 machine.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! rustup target add aarch64-unknown-linux-gnu; then
  echo "NOT TESTED: rustup cannot get Rust's standard library for arm64 here" >&2
  exit 0
fi
make wheel TARGET=aarch64-unknown-linux-gnu
wheel=$(ls -1t "$PWD"/dist/*aarch64.whl | head -1)
case $(basename "$wheel") in
  *-cp311-abi3-manylinux2014_aarch64.manylinux_2_17_aarch64.whl) ;;
  *) echo "error: $wheel is not an abi3 wheel for manylinux2014 on aarch64" >&2; exit 1 ;;
esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
.venv/bin/python -m zipfile -e "$wheel" "$folder"
library=$folder/modelport/_dataplane.abi3.so
readelf --file-header "$library" | grep -q 'Machine: *AArch64' || { echo "error: $library is for another machine" >&2; exit 1; }
readelf --dyn-syms --wide "$library" | grep -qw PyInit__dataplane || { echo "error: no PyInit__dataplane" >&2; exit 1; }
newest=$(readelf --version-info --wide "$library" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1)
test "$(printf '%s\n' GLIBC_2.17 "$newest" | sort -V | tail -1)" = GLIBC_2.17 ||
  { echo "error: needs $newest, newer than manylinux2014's GLIBC_2.17" >&2; exit 1; }
# The Python beside it is the same as in the wheel for this machine.
test -f "$folder/modelport/cli/serve.py"
echo "wheel for arm64: ok ($(du -h "$wheel" | cut -f1) $(basename "$wheel"), $newest)"
