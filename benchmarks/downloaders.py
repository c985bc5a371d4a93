"""Who downloads in `storage.py`, how, and the servers that they download from: a script and an environment each."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
TOOLS = Path(os.environ.get("MODELPORT_STORAGE_TOOLS", HERE.parent / ".cache" / "storage"))
ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
S3_KEYS = {
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
import os, sys
from kserve_storage import Storage
if service := os.environ.get("AZURE_SERVICE_URL"):  # it knows Azure's own addresses only
    parse = Storage._parse_azure_uri
    Storage._parse_azure_uri = staticmethod(lambda uri: (parse(uri)[0], service, *parse(uri)[2:]))
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
GOOGLE = """
import os, sys
from google.cloud import storage
from google.cloud.storage import transfer_manager
name, _, prefix = sys.argv[1].removeprefix("gs://").partition("/")
client = storage.Client()
blobs = list(client.list_blobs(name, prefix=prefix + "/"))
small = [blob.name[len(prefix) + 1:] for blob in blobs if blob.size < 64 << 20]
for blob in blobs:
    if blob.size >= 64 << 20:
        transfer_manager.download_chunks_concurrently(blob, os.path.join(sys.argv[2], os.path.basename(blob.name)))
if small:
    transfer_manager.download_many_to_path(client.bucket(name), small, destination_directory=sys.argv[2],
        blob_name_prefix=prefix + "/", raise_exception=True, worker_type=os.environ.get("GCS_WORKERS", "process"))
"""
AZURE = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from azure.storage.blob import BlobServiceClient
name, _, prefix = urlsplit(sys.argv[1]).path[1:].partition("/")
service = BlobServiceClient(os.environ["AZURE_SERVICE_URL"], credential=os.environ["AZURE_STORAGE_ACCESS_KEY"])
container = service.get_container_client(name)
def get(blob):
    target = os.path.join(sys.argv[2], blob[len(prefix) + 1:])
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as out:
        container.download_blob(blob, max_concurrency=8).readinto(out)
with ThreadPoolExecutor(8) as pool:
    list(pool.map(get, [blob.name for blob in container.list_blobs(name_starts_with=prefix + "/")]))
"""
HUB = """
import sys
from huggingface_hub import snapshot_download
snapshot_download(sys.argv[1].removeprefix("hf://"), local_dir=sys.argv[2])
"""

PACKAGES = {
    "kserve": ["kserve-storage", "boto3"],
    "sdks": ["boto3", "google-cloud-storage>=3", "azure-storage-blob", "huggingface_hub", "hf_xet"],
}
"""What each environment holds: KServe's bounds keep an older client of Google's, so that the clients have their own."""


class Store(NamedTuple):
    """A kind of store: the official client of it, and a model's URI."""

    client: str
    script: str
    uri: str
    package: str


STORES = {
    "s3": Store("boto3", BOTO3, "s3://models/{model}", "boto3"),
    "gcs": Store("google-cloud-storage", GOOGLE, "gs://models/{model}", "google-cloud-storage"),
    "azure": Store(
        "azure-storage-blob",
        AZURE,
        f"https://{ACCOUNT}.blob.core.windows.net/models/{{model}}",
        "azure-storage-blob",
    ),
    "hf": Store("huggingface_hub", HUB, "hf://models/{model}", "huggingface_hub"),
}


def _environment(name: str) -> Path:
    """The interpreter of an environment, which is made where it is missing."""
    python = TOOLS / name / "bin" / "python"
    if not python.exists():
        uv = HERE.parent / ".venv" / "bin" / "uv"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, TOOLS / name], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *PACKAGES[name]],
            check=True,
        )
    return python


def contenders(store: str) -> dict[str, tuple[Path, str]]:
    """Each with its interpreter and script."""
    return {
        "modelport": (Path(sys.executable), MODELPORT),
        STORES[store].client: (_environment("sdks"), STORES[store].script),
        "kserve-storage": (_environment("kserve"), KSERVE),
    }


def versions(stores: list[str]) -> dict[str, str]:
    """Of the clients, as they are installed."""
    ask = "import sys, importlib.metadata as m; print(*[m.version(name) for name in sys.argv[1:]])"
    names = [STORES[store].package for store in stores]
    told = subprocess.check_output([_environment("sdks"), "-c", ask, *names], text=True).split()
    kserve = subprocess.check_output([_environment("kserve"), "-c", ask, "kserve-storage"], text=True)
    return {**dict(zip(names, told, strict=True)), "kserve-storage": kserve.strip()}


@contextlib.contextmanager
def serving(folder: Path, stores: list[str]) -> Iterator[dict[str, str]]:
    """Servers of a folder of buckets, so quick that they are not what is measured: variables of the environment.

    S3 by versitygw (Go), the others by `stores/` beside this file.
    """
    running: list[subprocess.Popen[str]] = []
    found: dict[str, str] = {}
    try:
        if "s3" in stores:
            process, url = _versitygw(folder)
            running.append(process)
            found |= {**S3_KEYS, "AWS_ENDPOINT_URL": url}
        if set(stores) != {"s3"}:
            program = TOOLS / "bin" / "stores"
            subprocess.run(["go", "build", "-o", program, "."], check=True, cwd=HERE / "stores")
            process = subprocess.Popen([program, "-folder", folder], stdout=subprocess.PIPE, text=True)
            running.append(process)
            assert process.stdout is not None
            at = dict(line.split() for line in iter(process.stdout.readline, "ready\n"))
            found |= {
                "STORAGE_EMULATOR_HOST": f"http://{at['gcs']}",
                "AZURE_SERVICE_URL": f"http://{at['azure']}/{ACCOUNT}",
                "AZURE_STORAGE_ACCESS_KEY": AZURE_KEY,
                "HF_ENDPOINT": f"http://{at['hf']}",
            }
        yield found
    finally:
        for process in running:
            process.kill()
            process.wait()


def _versitygw(folder: Path) -> tuple[subprocess.Popen[str], str]:
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
    server = subprocess.Popen(
        [
            program, "--port", f"127.0.0.1:{port}",
            "--access", S3_KEYS["AWS_ACCESS_KEY_ID"], "--secret", S3_KEYS["AWS_SECRET_ACCESS_KEY"],
            "--keep-alive", "--quiet", "posix", "--nometa", folder,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
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
