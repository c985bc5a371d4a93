"""Fetches a URI in a process that somebody may kill. `python killed.py CACHE URI`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from modelport import storage

fetched = storage.fetch(sys.argv[2], cache=storage.Cache(Path(sys.argv[1])))
digest = hashlib.sha256()
for path in sorted(fetched.path.rglob("*")):
    if path.is_file():
        digest.update(path.read_bytes())
print(digest.hexdigest(), flush=True)
