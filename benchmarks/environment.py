"""Virtual environments, one a family of contenders, and the models that are trained in them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ENVS = HERE / ".envs"
MODELS = ENVS / "models"


def make(family: str, requirements: Path, extra: list[str]) -> Path:
    """The family's environment with its pins (and `extra`) installed; cheap when nothing changed."""
    env = ENVS / family
    if not (env / "bin" / "python").exists():
        uv("venv", "--python", sys.executable, str(env))
    uv("pip", "install", "--python", str(env), "-r", str(requirements), *extra)
    return env


def versions(env: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of these packages in the environment."""
    listed = json.loads(uv("pip", "list", "--python", str(env), "--format", "json"))
    installed = {package["name"]: package["version"] for package in listed}
    return {name: installed[name] for name in packages if name in installed}


def train(env: Path, family: str, workload: str, environ: dict[str, str]) -> Path:
    """The folder with the workload's model and request, made in this environment."""
    folder = MODELS / family / workload
    script = HERE / "inside" / "train.py"
    command = [str(env / "bin" / "python"), str(script), workload, str(folder)]
    subprocess.run(command, check=True, env=environ)
    return folder


def encode(client: Path, model: Path, name: str) -> Path:
    """The workload's request as a gRPC message."""
    out = model / "request.grpc"
    script = HERE / "inside" / "grpc_message.py"
    python = client / "bin" / "python"
    command = [python, script, "encode", model / "request.json", name, out]
    subprocess.run(command, check=True)
    return out


def uv(*args: str) -> str:
    """Runs uv, and shows what it said when it fails."""
    command = [sys.executable, "-m", "uv", "--quiet", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"error: {' '.join(command)} failed\n{done.stderr}\n"
            "hint: python -m pip install uv, and check the network"
        )
    return done.stdout
