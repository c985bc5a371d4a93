"""OpenSSF model signing: models signed by the library's own command line."""

from __future__ import annotations

import subprocess
import sys
import tarfile

import pytest

from modelport import storage
from modelport.storage import Policy, Signer, StorageError

pytest.importorskip("model_signing", reason="model-signing is not installed: run tests/storage.sh")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        key, public = folder / f"{name}.pem", folder / f"{name}.pub"
        subprocess.run(
            ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True
        )
        subprocess.run(
            ["openssl", "ec", "-in", key, "-pubout", "-out", public], check=True, capture_output=True
        )
    return folder


@pytest.fixture
def signed(tmp_path, keys):
    """An archive with a signed model."""
    model = tmp_path / "churn"
    model.mkdir()
    (model / "model.onnx").write_bytes(b"weights")
    subprocess.run(
        [sys.executable, "-m", "model_signing", "sign", "key", model, "--signature", model / "model.sig", "--private_key", keys / "ours.pem"],
        check=True,
        capture_output=True,
    )  # fmt: skip

    def pack(name: str):
        with tarfile.open(tmp_path / name, "w") as archive:
            for path in model.iterdir():
                archive.add(path, path.name)
        return tmp_path / name

    pack.model = model
    return pack


def fetch(archive, tmp_path, key, **more):
    policy = Policy(signer=Signer(public_key=key))
    return storage.fetch(str(archive), cache=storage.Cache(tmp_path / "cache"), policy=policy, **more)


def test_a_signed_model_is_let_in(signed, keys, tmp_path):
    fetched = fetch(signed("m.tar"), tmp_path, keys / "ours.pub")
    assert (fetched.path / "model.onnx").read_bytes() == b"weights"
    assert fetch(signed("m.tar"), tmp_path, keys / "ours.pub").digest == fetched.digest
    with pytest.raises(StorageError, match="its signature is not one of"):
        fetch(signed("m.tar"), tmp_path, keys / "theirs.pub")


def test_somebody_elses_key_a_changed_file_and_no_signature_are_refused(signed, keys, tmp_path):
    with pytest.raises(
        StorageError, match=r"its signature is not one of the key .*theirs.pub over these files"
    ) as failed:
        fetch(signed("m.tar"), tmp_path, keys / "theirs.pub")
    assert (failed.value.step, failed.value.reason) == ("verify", "Refused")
    (signed.model / "model.onnx").write_bytes(b"other")
    with pytest.raises(StorageError, match="its signature is not one of"):
        fetch(signed("changed.tar"), tmp_path, keys / "ours.pub")
    (signed.model / "more.py").write_bytes(b"evil")
    (signed.model / "model.onnx").write_bytes(b"weights")
    with pytest.raises(StorageError, match="its signature is not one of"):
        fetch(signed("more.tar"), tmp_path, keys / "ours.pub")
    (signed.model / "model.sig").unlink()
    with pytest.raises(StorageError, match=r"it has no signature \(model.sig\)"):
        fetch(signed("bare.tar"), tmp_path, keys / "ours.pub")
