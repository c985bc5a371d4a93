#!/usr/bin/env python3
"""Fetching models: Modelport beside each store's own client and KServe's storage initializer, over loopback.

    tests/storage.sh --collect-only                    # once: the servers; needs Go
    python benchmarks/storage.py                       # one file of 4 GiB and 10,000 small ones: S3, GCS, Azure
    python benchmarks/storage.py --stores gcs --size 1Gi --files 2000 --rounds 1
    python benchmarks/storage.py --stores hf           # the Hugging Face hub, over http as the others

Every contender downloads the same bytes from the same server to the same disk, in a process of its own, one after
the other, in another order each round. Time is the whole process's, interpreter included; processor time is what it
took of the machine, whoever else was busy; memory is the most anonymous memory that it and its children had at once.
What counts is the ratio: machine and disk change the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from downloaders import HERE, STORES, contenders, serving, versions

Figures = dict[str, dict[str, dict[str, list[dict[str, float]]]]]
"""Store, workload, contender: a measurement each round."""


def fill(folder: Path, size: int, files: int) -> None:
    """The two models, of bytes that do not compress, and one of one small file."""
    block = os.urandom(1 << 20)
    for name in ("large", "warm"):
        place = folder / "models" / name
        place.mkdir(parents=True)
        with (place / "model.bin").open("wb") as out:
            for number in range(size >> 20 if name == "large" else 1):
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
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(
            [python, "-c", script, uri, target], env=environment, stdout=subprocess.DEVNULL, stderr=said
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
            said.seek(0)
            raise SystemExit(f"{uri}: {said.read().decode()[-2000:]}")
    subprocess.run(["chmod", "-R", "u+w", target], check=True)
    shutil.rmtree(target)
    return {"seconds": seconds, "memory": most, "processor": used.ru_utime + used.ru_stime}


def measure(
    stores: list[str], rounds: int, only: list[str], environment: dict[str, str], place: Path
) -> Figures:
    """All rounds of all stores, in an order by chance."""
    figures: Figures = {}
    for store in stores:
        chosen = {name: how for name, how in contenders(store).items() if not only or name in only}
        for python, script in chosen.values():  # so that nobody compiles its modules while it is measured
            run(python, script, STORES[store].uri.format(model="warm"), environment, place)
        for number in range(rounds):
            for workload in ("large", "small"):
                for name, (python, script) in random.sample(list(chosen.items()), len(chosen)):
                    uri = STORES[store].uri.format(model=workload)
                    found = run(python, script, uri, environment, place)
                    figures.setdefault(store, {}).setdefault(workload, {}).setdefault(name, []).append(found)
                    print(
                        f"round {number + 1} {store:5} {workload:6} {name:21} {found['seconds']:7.2f} s"
                        f" {found['processor']:7.2f} s of processor {found['memory'] / 2**20:7.1f} MiB",
                        flush=True,
                    )
    return figures


def report(figures: Figures, names: dict[str, str]) -> None:
    """A table as the README has it."""
    print(
        "\n| store | workload | contender | seconds (median) | ours is faster | processor seconds (least) | memory (most) | of KServe's |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for store, workloads in figures.items():
        for workload, found in workloads.items():
            medians = {
                name: statistics.median(one["seconds"] for one in runs) for name, runs in found.items()
            }
            memory = {name: max(one["memory"] for one in runs) / 2**20 for name, runs in found.items()}
            ours = medians.get("modelport", min(medians.values()))
            for name, seconds in sorted(medians.items(), key=lambda pair: pair[1]):
                processor = min(one["processor"] for one in found[name])
                share = f"{memory[name] / memory['kserve-storage']:.3f}" if "kserve-storage" in memory else ""
                print(
                    f"| {store} | {names[workload]} | {name} | {seconds:.2f} | ×{seconds / ours:.2f}"
                    f" | {processor:.2f} | {memory[name]:.1f} MiB | {share} |"
                )


def main() -> None:
    """Prints a table, and writes the figures beside it where asked to."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--stores", default="s3,gcs,azure", help=f"of {', '.join(STORES)}")
    options.add_argument("--size", default="4Gi")
    options.add_argument("--files", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--contenders", default="", help="only these; without it all")
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    from modelport.kube.quantity import Quantity

    size = Quantity.parse(given.size).whole()
    stores = given.stores.split(",")
    only = [name for name in given.contenders.split(",") if name]
    cache = HERE.parent / ".cache"
    cache.mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        place = Path(folder)
        fill(place / "served", size, given.files)
        home = place / "home"  # so that nobody finds keys or settings of this machine's user
        home.mkdir()
        with serving(place / "served", stores) as variables:
            environment = {**inherited, **variables, "HOME": str(home)}
            figures = measure(stores, given.rounds, only, environment, place)
    report(figures, {"large": f"one file of {given.size}", "small": f"{given.files:,} files of 4 KiB"})
    if given.json:
        told = {"size": size, "files": given.files, "versions": versions(stores), "figures": figures}
        given.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
