"""/metrics: how much is asked of this server and how long it takes, in Prometheus' text form."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from modelport.local.apiserver.registry import Registry
from modelport.local.apiserver.store import Store

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counts of one server."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets = [0] * (len(BOUNDS_S) + 1)
        self._seconds = 0.0

    def count(self, method: str, code: int, took_s: float) -> None:
        """One request; of a watch, the time until it began."""
        self._requests[method, code] += 1
        self._buckets[bisect_left(BOUNDS_S, took_s)] += 1
        self._seconds += took_s

    def text(self, store: Store, registry: Registry) -> str:
        """All of it."""
        lines = [
            "# HELP apiserver_request_total Requests answered.",
            "# TYPE apiserver_request_total counter",
        ]
        lines += [
            f'apiserver_request_total{{method="{method}",code="{code}"}} {number}'
            for (method, code), number in sorted(self._requests.items())
        ]
        lines += [
            "# HELP apiserver_request_duration_seconds Time to an answer; of a watch, until it began.",
            "# TYPE apiserver_request_duration_seconds histogram",
        ]
        total = 0
        for bound, number in zip((*BOUNDS_S, "+Inf"), self._buckets, strict=True):
            total += number
            lines.append(f'apiserver_request_duration_seconds_bucket{{le="{bound}"}} {total}')
        lines += [
            f"apiserver_request_duration_seconds_sum {self._seconds:.6f}",
            f"apiserver_request_duration_seconds_count {total}",
            "# HELP apiserver_storage_objects Objects stored.",
            "# TYPE apiserver_storage_objects gauge",
        ]
        lines += [
            f'apiserver_storage_objects{{resource="{served.resource.qualified}"}} '
            f"{store.count(served.resource.qualified)}"
            for served in registry.kinds()
        ]
        lines += [
            "# HELP apiserver_longrunning_requests Watches open.",
            "# TYPE apiserver_longrunning_requests gauge",
            f'apiserver_longrunning_requests{{verb="watch"}} {store.watchers}',
            "# HELP apiserver_resource_version The newest resourceVersion.",
            "# TYPE apiserver_resource_version gauge",
            f"apiserver_resource_version {store.version}",
            "# HELP apiserver_storage_size_bytes Size of the file, without its write-ahead log.",
            "# TYPE apiserver_storage_size_bytes gauge",
            f"apiserver_storage_size_bytes {store.size_bytes()}",
        ]
        return "\n".join(lines) + "\n"
