"""KServe's Python server with the model class of its sklearnserver.

Twice: as it comes, with a line of access log and one of latency log a request, and with both off.
"""

from __future__ import annotations

import json
from functools import partial

from contenders import INSIDE, MODEL_NAME, Contender, Launch, Site

# Uvicorn skips the work of access logging only when its logger has no handler at all.
QUIET: dict[str, object] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {
        "uvicorn.access": {"handlers": [], "propagate": False, "level": "ERROR"},
        "uvicorn": {"handlers": ["stderr"], "propagate": False, "level": "WARNING"},
        "kserve": {"handlers": ["stderr"], "propagate": False, "level": "WARNING"},
        "kserve.trace": {"handlers": [], "propagate": False, "level": "ERROR"},
    },
}


def launch(site: Site, *, quiet: bool) -> Launch:
    """The server on one worker, as in KServe's ServingRuntime."""
    argv = [
        str(site.python),
        str(INSIDE / "kserve_server.py"),
        f"--model_name={MODEL_NAME}",
        f"--http_port={site.http_port}",
        f"--grpc_port={site.grpc_port}",
    ]
    if quiet:
        config = site.scratch / "logging.json"
        config.write_text(json.dumps(QUIET))
        argv += ["--enable_latency_logging=false", f"--log_config_file={config}"]
    return Launch(argv, {"BENCH_WORKLOAD": site.workload, "BENCH_MODEL": str(site.model)})


PACKAGES = ("kserve", "scikit-learn", "xgboost-cpu", "numpy", "pandas", "uvicorn", "grpcio")

CONTENDERS = [
    Contender("kserve-default", "kserve", "KServe", partial(launch, quiet=False), PACKAGES),
    Contender("kserve-quiet", "kserve", "KServe, logs off", partial(launch, quiet=True), PACKAGES),
]
