"""Modelport itself, built from this checkout."""

from __future__ import annotations

from contenders import INSIDE, MODEL_NAME, Contender, Launch, Site


def launch(site: Site) -> Launch:
    """`modelport serve` on the saved model, or on a class for the workload without one."""
    model = (
        f"{INSIDE / 'my_model.py'}:Mean" if site.workload == "tensor" else str(site.model / "model.joblib")
    )
    return Launch(
        [
            str(site.env / "bin" / "modelport"),
            "serve",
            model,
            "--name",
            MODEL_NAME,
            "--http-port",
            str(site.http_port),
            "--grpc-port",
            str(site.grpc_port),
        ]
    )


PACKAGES = ("modelport", "scikit-learn", "xgboost-cpu", "numpy", "pandas")

CONTENDERS = [Contender("modelport", "modelport", "Modelport", launch, PACKAGES)]
