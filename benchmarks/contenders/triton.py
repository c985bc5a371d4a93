"""NVIDIA Triton with its Python backend, from the nvidia-pytriton wheel, without pytriton.

pytriton would put its own proxy between server and model; the server inside its wheel is the real
one. It needs three things that an image would have done: the stub for this Python beside the
backend, this Python's shared library on the loader's path, and in `inside/triton_model.py` the
environment's packages on `sys.path`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

from contenders import INSIDE, MODEL_NAME, Contender, Launch, Site

TYPES = {"FP32": "TYPE_FP32", "FP64": "TYPE_FP64", "INT64": "TYPE_INT64", "BYTES": "TYPE_STRING"}


def launch(site: Site, *, batching: bool) -> Launch:
    """A model repository of one model, and the server on it."""
    ask = (
        "import pytriton, sysconfig, sys; print(pytriton.__path__[0]);"
        "print(sysconfig.get_config_var('LIBDIR'));"
        "print('%d.%d' % sys.version_info[:2]); print(sysconfig.get_path('platlib'))"
    )
    answer = subprocess.check_output([site.python, "-c", ask], text=True)
    package, libraries, version, packages = answer.split("\n")[:4]
    server = Path(package) / "tritonserver"
    stub = "triton_python_backend_stub"
    backend = server / "backends" / "python"
    if not (backend / stub).exists():
        shutil.copy2(server / "python_backend_stubs" / version / stub, backend / stub)

    model = site.scratch / "repository" / MODEL_NAME
    (model / "1").mkdir(parents=True)
    shutil.copy(INSIDE / "triton_model.py", model / "1" / "model.py")
    settings = {"workload": site.workload, "model": str(site.model), "packages": packages}
    (model / "1" / "settings.json").write_text(json.dumps(settings))
    (model / "config.pbtxt").write_text(config(site.model / "request.json", site.workload, batching))
    return Launch(
        [
            str(server / "bin" / "tritonserver"),
            f"--model-repository={model.parent}",
            f"--backend-directory={server / 'backends'}",
            f"--http-port={site.http_port}",
            f"--grpc-port={site.grpc_port}",
            "--allow-metrics=false",
            "--http-thread-count=1",  # on one core no slower than the default of 8
            "--log-verbose=0",
        ],
        {"LD_LIBRARY_PATH": libraries},
    )


def config(request: Path, workload: str, batching: bool) -> str:
    """The model's config.pbtxt, with the inputs that the workload's request has."""
    inputs = ",\n".join(
        f'  {{ name: "{tensor["name"]}" data_type: {TYPES[tensor["datatype"]]} dims: {tensor["shape"][1:]} }}'
        for tensor in json.loads(request.read_text())["inputs"]
    )
    output = "TYPE_FP32" if workload == "tensor" else "TYPE_INT64"
    lines = [
        'backend: "python"',
        "max_batch_size: 256",
        f"input [\n{inputs}\n]",
        f'output [{{ name: "output-0" data_type: {output} dims: [1] }}]',
        "instance_group [{ kind: KIND_CPU count: 1 }]",
    ]
    if batching:
        lines.append("dynamic_batching { }")  # takes what is queued, never waits
    return "\n".join(lines) + "\n"


PACKAGES = ("nvidia-pytriton", "scikit-learn", "xgboost-cpu", "numpy", "pandas")
TITLE = "Triton, Python backend"

CONTENDERS = [
    Contender("triton-plain", "triton", TITLE, partial(launch, batching=False), PACKAGES),
    Contender(
        "triton-batching",
        "triton",
        "Triton, dynamic batching",
        partial(launch, batching=True),
        PACKAGES,
    ),
]
