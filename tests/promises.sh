#!/usr/bin/env bash
# No failed request while operations go on. Arguments: --operations N (12), --seed N, --rate R, --only NAMES, --out FILE.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --release -p modelport-load
.venv/bin/python tests/promises/run.py "$@"
