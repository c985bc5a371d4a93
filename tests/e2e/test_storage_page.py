"""Every block of docs/how-to/storage.md that is no `modelport fetch` of a scheme, as it is written: only hosts differ.

Those of the schemes are in `test_storage_walk`. A block that no test here takes fails the last one: whoever writes
one says against what it was tried. They go in the page's order on one platform, so that a later one finds what an
earlier one has made, as a reader's would.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import stores
from node_platform import Platform, running
from sklearn.dummy import DummyRegressor
from test_storage_cli import web  # noqa: F401 - a fixture

boto3 = pytest.importorskip("boto3")
pytestmark = pytest.mark.skipif(
    not os.environ.get("MODELPORT_STORAGE_TOOLS"),
    reason="a whole platform and its stores: run tests/storage.sh",
)

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "storage.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
TAKEN: set[str] = set()
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}

MLMODEL = b"flavors:\n  sklearn: {pickled_model: model.joblib, serialization_format: pickle}\n"


def block(language: str, within: str) -> str:
    """The one block of that language with those words."""
    found = [text for kind, text in BLOCKS if kind == language and within in text]
    assert len(found) == 1, f"{len(found)} blocks of {language} have {within!r}"
    TAKEN.add(found[0])
    return found[0]


def model(value: float) -> bytes:
    """A scikit-learn model that answers with one number."""
    file = io.BytesIO()
    joblib.dump(DummyRegressor(strategy="constant", constant=value).fit(np.zeros((2, 2)), [0.0, 1.0]), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stores.Store]:
    server = stores.moto(tmp_path_factory.mktemp("moto") / "log")
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket="models")
    client.create_bucket(Bucket="others")
    client.put_object(Bucket="others", Key="churn/model.joblib", Body=model(0.0))
    client.put_object(Bucket="models", Key="churn/3/model.joblib", Body=model(3.0))
    client.put_object(Bucket="models", Key="churn/3/MLmodel", Body=MLMODEL)
    client.put_object(Bucket="models", Key="hub/team/fraud/model.safetensors", Body=b"weights")
    yield server
    server.close()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running(tmp_path_factory.mktemp("page") / "platform") as found:
        yield found


@pytest.fixture
def shell(tmp_path: Path, platform: Platform, s3: stores.Store) -> Callable[..., subprocess.CompletedProcess]:
    """Runs what a person types, at home on a machine of their own beside the platform."""
    home = tmp_path / "home"
    home.mkdir()

    def typed(text: str, code: int = 0, **more: str) -> subprocess.CompletedProcess:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "MODELPORT_DIR": str(platform.folder),
            "MODELPORT_CACHE": str(tmp_path / "cache"),
            "KUBECONFIG": str(platform.folder / "kubeconfig"),
            "MODELPORT_INSTANCE_CREDENTIALS": "never",
            "AWS_ENDPOINT_URL": s3.url,
        }
        done = subprocess.run(
            ["sh", "-ec", text],
            capture_output=True,
            text=True,
            check=False,
            env=environment | KEYS | more,
            cwd=tmp_path,
        )
        assert done.returncode == code, f"{text}\n{done.stdout}\n{done.stderr}"
        return done

    typed.home = home  # type: ignore[attr-defined]
    return typed


@pytest.fixture
def settings(shell: Any) -> Callable[[str], None]:
    """Writes the file that the page names."""
    assert "`~/.config/modelport/storage.yaml`" in PAGE

    def write(text: str) -> None:
        file = shell.home / ".config" / "modelport" / "storage.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


def answer(platform: Platform, name: str) -> str:
    """What a service predicts once it is Ready."""
    try:
        platform.modelport("wait", f"isvc/{name}", "--timeout", "120")
    except AssertionError as failure:
        raise AssertionError(f"{platform.modelport('describe', name)}\n{failure}") from failure
    return platform.modelport("predict", name, "-d", '{"instances": [[0, 0]]}')


def apply(platform: Platform, tmp_path: Path, text: str) -> None:
    (tmp_path / "applied.yaml").write_text(text)
    platform.modelport("apply", "-f", str(tmp_path / "applied.yaml"))


def service(name: str, source: str) -> str:
    """An InferenceService with a fragment of the page in its model."""
    body = "\n".join(f"      {line.strip()}" for line in source.splitlines() if line.strip())
    return (
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n"
        f"metadata: {{name: {name}, namespace: default}}\n"
        "spec:\n  predictor:\n    serviceAccountName: trainer\n    model:\n"
        f"      modelFormat: {{name: sklearn}}\n{body}\n"
    )


def like(line: str) -> str:
    """A line of the page without what differs from machine to machine: sizes, digests, columns."""
    line = re.sub(r"[\d.]+ ([KMG]i)?B(ytes)?\b|\d+ bytes", "SIZE", line)
    return re.sub(r"\s+", " ", re.sub(r"sha256:\S+", "sha256:HEX", line)).strip()


def test_a_console_shows_what_is_printed(shell: Any):
    for words in ("--to ./churn", "modelport storage check"):
        command, *shown = block("console", words).splitlines()
        done = shell(command.removeprefix("$ "))
        said = {like(line) for line in (done.stdout + done.stderr).splitlines()}
        missing = [line for line in shown if like(line) not in said]
        assert not missing, f"{missing}\n{said}"


def test_a_folder_is_deployed(platform: Platform, shell: Any, tmp_path: Path):
    (tmp_path / "models" / "churn").mkdir(parents=True)
    (tmp_path / "models" / "churn" / "model.joblib").write_bytes(model(1.0))
    shell(block("sh", "modelport deploy").replace("/srv/models", str(tmp_path / "models")))
    assert "1.0" in answer(platform, "churn")
    platform.modelport("delete", "isvc", "churn")


def test_a_secret_on_the_service_account(platform: Platform, s3: stores.Store, tmp_path: Path):
    apply(platform, tmp_path, block("yaml", "kind: ServiceAccount").replace("minio:9000", s3.host))
    assert "3.0" in answer(platform, "churn")


def test_the_condition_says_what_is_served(platform: Platform, shell: Any):
    """Of the service before, by kubectl."""
    text = block("sh", "kubectl get isvc churn")
    done = shell(text)
    shown = text.rpartition("# after:")[2].strip()
    source, _, size = re.sub(r"[\d.]+ GiB$", r"[\\d.]+ \\S+", shown).partition("9f86d081884c7d65…")
    assert re.fullmatch(f"{re.escape(source)}[0-9a-f]{{64}}{size}", done.stdout.strip()), done.stdout


def test_a_claim(platform: Platform, tmp_path: Path):
    claim = platform.folder / "volumes" / "default" / "models" / "churn" / "3"
    claim.mkdir(parents=True)
    (claim / "model.joblib").write_bytes(model(2.0))
    apply(platform, tmp_path, service("claim", block("yaml", "storageUri: pvc://")))
    assert "2.0" in answer(platform, "claim")


def test_a_key_of_storage_config(platform: Platform, s3: stores.Store, tmp_path: Path):
    secret, _, fragment = block("yaml", "metadata: {name: storage-config}").partition("---\n")
    apply(platform, tmp_path, secret.replace("http://minio:9000", s3.url))
    apply(platform, tmp_path, service("spec", fragment))
    assert "3.0" in answer(platform, "spec")


def test_an_address_that_is_followed(platform: Platform, tmp_path: Path, web: tuple[Path, str]):  # noqa: F811
    folder, url = web
    (folder / "churn").mkdir()
    (folder / "churn" / "model.joblib").write_bytes(model(4.0))
    text = block("yaml", "storage-poll: 5m").replace("https://models.example.com", url)
    head = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n"
    apply(platform, tmp_path, head + text)
    platform.until("the model behind the address", lambda: "4.0" in answer(platform, "churn"))
    platform.modelport("delete", "isvc", "churn")


def test_mirrors(shell: Any, settings: Any, tmp_path: Path):
    (tmp_path / "models" / "churn").mkdir(parents=True)
    (tmp_path / "models" / "churn" / "model.joblib").write_bytes(model(1.0))
    settings(block("yaml", "mirrors:\n").replace("/srv/models", str(tmp_path / "models")))
    done = shell("modelport fetch gs://kfserving-examples/churn")
    assert done.stdout.strip() == str(tmp_path / "models" / "churn")
    assert "from its mirror" in done.stderr
    done = shell("modelport fetch hf://team/fraud")
    assert (Path(done.stdout.strip()) / "model.safetensors").read_bytes() == b"weights"


def test_the_cache_is_listed_and_kept_small(shell: Any):
    shell("modelport fetch s3://models/churn/3")
    done = shell(block("sh", "modelport storage prune"))
    assert "s3://models/churn/3" in done.stdout
    assert "0 models dropped" in done.stdout


def test_pickles_are_refused_from_elsewhere(shell: Any, settings: Any, tmp_path: Path):
    settings(block("yaml", "unsafe: deny\ntrusted"))
    shell("modelport fetch s3://models/churn/3")
    assert "skops" in shell("modelport fetch s3://others/churn", code=2).stderr


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    pytest.importorskip("model_signing")
    for step in (
        "openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem",
        "openssl ec -in KEY.pem -pubout -out models.pub",
    ):
        subprocess.run(step.split(), check=True, capture_output=True, cwd=tmp_path)
    return tmp_path


SIGN = re.search(r"`(model_signing sign .*?)`", PAGE, re.DOTALL)


def sign(shell: Any, folder: Path) -> None:
    """As the page says."""
    assert SIGN is not None
    shell(SIGN[1].replace("\n", " ").replace("MODEL", str(folder)))


def test_signed_models_only(shell: Any, settings: Any, keys: Path, tmp_path: Path):
    (shell.home / "keys").mkdir()
    (keys / "models.pub").rename(shell.home / "keys" / "models.pub")
    settings(block("yaml", "signature: {public_key: ~"))
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn" / "model.onnx").write_bytes(b"weights")
    assert "sign" in shell("modelport fetch ./churn", code=2).stderr
    sign(shell, tmp_path / "churn")
    shell("modelport fetch ./churn")


def test_a_scheme_of_ones_own(shell: Any, tmp_path: Path):
    """The two blocks as a package; what the page leaves out with `...` lists one file."""
    package = tmp_path / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    lists = "    found = [('model.onnx', lambda start, stop: iter([b'weights'[start:stop]]), 7, 'v1')]\n"
    (package / "dvc.py").write_text(block("python", "my_package/dvc.py").replace("    ...\n", lists))
    points = tomllib.loads(block("toml", "entry-points"))["project"]["entry-points"]
    about = tmp_path / "site" / "my_package-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in each.items())
            for group, each in points.items()
        )
    )
    done = shell("modelport fetch dvc://churn", PYTHONPATH=str(tmp_path / "site"))
    assert (Path(done.stdout.strip()) / "model.onnx").read_bytes() == b"weights"


def test_a_container_that_fetches(platform: Platform, tmp_path: Path):
    fetcher = tmp_path / "fetch.py"
    (tmp_path / "model.joblib").write_bytes(model(5.0))
    fetcher.write_text(
        "import shutil, sys\nassert sys.argv[1] == 'model-registry://churn/3'\n"
        f"shutil.copy({str(tmp_path / 'model.joblib')!r}, sys.argv[2])\n"
    )
    text = block("yaml", "kind: ClusterStorageContainer")
    own = text.replace("/opt/fetcher/venv/bin/python", sys.executable).replace(
        "/opt/fetcher/fetch.py", str(fetcher)
    )
    apply(platform, tmp_path, own)
    apply(platform, tmp_path, service("registered", "storageUri: model-registry://churn/3"))
    assert "5.0" in answer(platform, "registered")


def test_rules_of_the_platform(platform: Platform, shell: Any, keys: Path, tmp_path: Path):
    """The last that touches the platform: from here on it refuses what is not signed."""
    folder = tmp_path / "models" / "churn"
    folder.mkdir(parents=True)
    (folder / "model.joblib").write_bytes(model(6.0))
    text = block("yaml", "name: modelport-config")
    own = text.replace("/srv/models", str(tmp_path / "models"))
    rules = own.replace("/etc/modelport/models.pub", str(keys / "models.pub"))
    apply(platform, tmp_path, rules.replace("s3://models/]", f"file://{tmp_path}/]"))
    apply(platform, tmp_path, service("ruled", "storageUri: gs://kfserving-examples/churn"))
    platform.until("the refusal", lambda: "sign" in platform.modelport("describe", "ruled"))
    sign(shell, folder)
    assert "6.0" in answer(platform, "ruled")


def test_no_block_is_left_out():
    """What a page promises and nobody tries is wrong some day."""
    walked = re.compile(r"^\S*\s*modelport fetch ", re.MULTILINE)
    left = [text for kind, text in BLOCKS if text not in TAKEN and not (kind == "sh" and walked.search(text))]
    assert not left or not TAKEN, "\n\n".join(left)
