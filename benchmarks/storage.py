#!/usr/bin/env python3
"""Fetching models: Modelport beside the stores' own SDKs and KServe's storage initializer, over loopback.

    tests/storage.sh --collect-only                    # once: the servers
    python benchmarks/storage.py                       # one file of 4 GiB and 10,000 small ones, three rounds, S3
    python benchmarks/storage.py --size 1Gi --files 2000 --rounds 1

Every contender downloads the same bytes from the same server to the same disk, in a process of its own, one after
the other, in another order each round. Time is the whole process's, interpreter included; processor time is what it
took of the machine, whoever else was busy; memory is the most anonymous memory that it and its children had at once. What counts is the ratio: machine and disk change the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = Path(os.environ.get("MODELPORT_STORAGE_TOOLS", HERE.parent / ".cache" / "storage"))
KEYS = {
    "AWS_ACCESS_KEY_ID": "modelport",
    "AWS_SECRET_ACCESS_KEY": "modelport-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}

MODELPORT = """
import sys
from modelport.cli import main
sys.exit(main(["fetch", sys.argv[1], "--cache", sys.argv[2], "--quiet"]))
"""
KSERVE = """
import sys
from kserve_storage import Storage
Storage.download(sys.argv[1], sys.argv[2])
"""
BOTO3 = """
import sys, boto3, os
from concurrent.futures import ThreadPoolExecutor
bucket, _, prefix = sys.argv[1].removeprefix("s3://").partition("/")
client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
keys = [one["Key"] for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for one in page.get("Contents", [])]
def get(key):
    target = os.path.join(sys.argv[2], key[len(prefix):].lstrip("/"))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    client.download_file(bucket, key, target)
with ThreadPoolExecutor(8) as pool:
    list(pool.map(get, keys))
"""


def contenders() -> dict[str, tuple[Path, str]]:
    """Each with its interpreter and script."""
    kserve = TOOLS / "kserve" / "bin" / "python"
    if not kserve.exists():
        uv = HERE.parent / ".venv" / "bin" / "uv"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, TOOLS / "kserve"], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", kserve, "kserve-storage", "boto3"], check=True
        )
    return {
        "modelport": (Path(sys.executable), MODELPORT),
        "boto3": (kserve, BOTO3),
        "kserve-storage": (kserve, KSERVE),
    }


def gateway(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """versitygw (Go): S3 over a folder, so that the server is not what is measured."""
    program = TOOLS / "bin" / "versitygw"
    if not program.exists():
        built = {**os.environ, "GOBIN": str(program.parent)}
        subprocess.run(
            ["go", "install", "github.com/versity/versitygw/cmd/versitygw@v1.8.0"],
            check=True,
            env=built,
            cwd="/tmp",
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    access = ["--access", KEYS["AWS_ACCESS_KEY_ID"], "--secret", KEYS["AWS_SECRET_ACCESS_KEY"]]
    server = subprocess.Popen(
        [
            program,
            "--port",
            f"127.0.0.1:{port}",
            *access,
            "--keep-alive",
            "--quiet",
            "posix",
            "--nometa",
            folder,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            urllib.request.urlopen(url).read()
            break
        except urllib.error.HTTPError:
            break
        except OSError:
            threading.Event().wait(0.05)
    return server, url


def fill(folder: Path, size: int, files: int) -> None:
    """The two models, of bytes that do not compress."""
    block = os.urandom(1 << 20)
    large = folder / "models" / "large"
    large.mkdir(parents=True)
    with (large / "model.bin").open("wb") as out:
        for number in range(size >> 20):
            out.write(number.to_bytes(8, "big") + block[8:])
    for number in range(files):
        place = folder / "models" / "small" / f"{number // 100:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:05}.bin").write_bytes(number.to_bytes(4, "big") + block[: 4096 - 4])


def anonymous(pid: int) -> int:
    """Bytes of anonymous memory of a process and its children, now."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                total += int(line.split()[1]) << 10
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(anonymous(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass
    return total


def run(python: Path, script: str, uri: str, environment: dict[str, str], place: Path) -> dict[str, float]:
    """One download, measured."""
    target = Path(tempfile.mkdtemp(dir=place))
    began = time.monotonic()
    process = subprocess.Popen(
        [python, "-c", script, uri, target],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    most = 0
    while True:
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = os.waitstatus_to_exitcode(status)
            break
        most = max(most, anonymous(process.pid))
        threading.Event().wait(0.02)
    seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"{uri}: {process.stderr.read().decode()[-2000:]}")
    subprocess.run(["chmod", "-R", "u+w", target], check=True)
    shutil.rmtree(target)
    return {"seconds": seconds, "memory": most, "processor": used.ru_utime + used.ru_stime}


def main() -> None:
    """Prints a table, and writes the figures beside it where asked to."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--size", default="4Gi")
    options.add_argument("--files", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--contenders", default="modelport,boto3,kserve-storage")
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    from modelport.kube.quantity import Quantity

    size = Quantity.parse(given.size).whole()
    chosen = {name: found for name, found in contenders().items() if name in given.contenders.split(",")}
    figures: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(dir=HERE.parent / ".cache") as folder:
        place = Path(folder)
        fill(place / "served", size, given.files)
        server, url = gateway(place / "served")
        environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": url}
        try:
            for number in range(given.rounds):
                for workload in ("large", "small"):
                    order = list(chosen)
                    random.shuffle(order)
                    for name in order:
                        python, script = chosen[name]
                        found = run(python, script, f"s3://models/{workload}", environment, place)
                        figures.setdefault(workload, {}).setdefault(name, []).append(found)
                        print(
                            f"round {number + 1} {workload:6} {name:15} {found['seconds']:7.2f} s {found['processor']:7.2f} s of processor {found['memory'] / 2**20:7.0f} MiB",
                            flush=True,
                        )
        finally:
            server.kill()
            server.wait()
    print(
        "\n| workload | contender | seconds (median) | against the fastest | processor seconds (least) | anonymous memory (most) |\n| --- | --- | --- | --- | --- | --- |"
    )
    names = {"large": f"one file of {given.size}", "small": f"{given.files} files of 4 KiB"}
    for workload, found in figures.items():
        medians = {name: statistics.median(one["seconds"] for one in runs) for name, runs in found.items()}
        best = min(medians.values())
        for name, seconds in sorted(medians.items(), key=lambda pair: pair[1]):
            memory = max(one["memory"] for one in found[name]) / 2**20
            processor = min(one["processor"] for one in found[name])
            print(
                f"| {names[workload]} | {name} | {seconds:.2f} | ×{seconds / best:.2f} | {processor:.2f} | {memory:.0f} MiB |"
            )
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
