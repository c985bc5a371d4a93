"""Where a request's time goes inside Modelport, by its own histograms."""

from __future__ import annotations

import re
import urllib.request

SERIES = re.compile(r"modelport_(stage|request)_duration_seconds_(sum|count)\{(.*)\} (\S+)")
STAGES = ("decode", "queue", "predict", "encode")

Sums = dict[tuple[str, str], float]


def read(port: int) -> Sums:
    """Sums and counts so far, by stage; `request` is all of a request, its body's arrival included."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    sums: Sums = {}
    for kind, what, labels, value in SERIES.findall(text):
        stage = re.search(r'stage="(\w+)"', labels)
        name = kind if kind == "request" else stage[1] if stage else ""
        sums[name, what] = sums.get((name, what), 0.0) + float(value)
    return sums


def between(before: Sums, after: Sums) -> dict[str, float]:
    """Microseconds a request of each stage and of `request`, on average; nothing where none was answered."""
    count = after.get(("request", "count"), 0.0) - before.get(("request", "count"), 0.0)
    if count <= 0:
        return {}
    spent = {
        name: after.get((name, "sum"), 0.0) - before.get((name, "sum"), 0.0) for name in (*STAGES, "request")
    }
    return {name: round(seconds / count * 1e6, 2) for name, seconds in spent.items()}
