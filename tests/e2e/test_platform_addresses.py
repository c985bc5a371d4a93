"""Where a service is asked, by every template of inferenceservice-config: what is printed must answer."""

from __future__ import annotations

import json
import subprocess
import sys
from urllib.parse import urlsplit

import joblib
import pytest
from node_platform import running
from sklearn.linear_model import LogisticRegression

from modelport.kinds.inferenceservice import INFERENCE_SERVICE
from modelport.kube.resource import CONFIG_MAP


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    folder = tmp_path_factory.mktemp("addresses")
    model = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    joblib.dump(model, folder / "iris.joblib")
    with running(folder / "platform") as found:
        found.modelport("deploy", str(folder / "iris.joblib"))
        yield found


def told(platform) -> str:
    """The address that `describe` shows."""
    lines = platform.modelport("describe", "iris").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("URL:")), "")


def answers(url: str) -> bool:
    """By curl, which resolves names under .localhost, or with the header that is told."""
    address, _, header = url.partition(" (with the header ")
    more = ["-H", header.rstrip(")")] if header else []
    done = subprocess.run(
        ["curl", "-s", *more, f"{address}/v2/models/iris"], capture_output=True, text=True, check=False
    )
    return '"name":"iris"' in done.stdout


@pytest.mark.parametrize(
    ("ingress", "host"),
    [
        ({"domainTemplate": "{{ .Name }}.{{ .Namespace }}.{{ .IngressDomain }}"}, "iris.default.localhost"),
        ({"pathTemplate": "/serving/{{ .Namespace }}/{{ .Name }}"}, "localhost"),
        ({"ingressDomain": "models.test", "additionalIngressDomains": []}, "127.0.0.1"),
    ],
    ids=["names with dots", "paths", "no localhost"],
)
def test_the_address_that_is_told_answers(platform, ingress, host):
    """KServe's own servers know no path before /v1 and /v2, and `iris.localhost` is nobody: both were told, and 404."""
    read = platform.ask(lambda client: client.get(CONFIG_MAP, "kserve", "inferenceservice-config"))
    before = read["data"]["ingress"]
    changed = json.dumps(json.loads(before) | ingress)

    def write(text: str) -> None:
        body = {"data": {"ingress": text}}
        platform.ask(lambda client: client.patch(CONFIG_MAP, "kserve", "inferenceservice-config", body))

    write(changed)
    try:
        platform.until("the new address", lambda: urlsplit(told(platform)).hostname == host)
        platform.until("an answer there", lambda: answers(told(platform)))
        assert "predictions" in platform.modelport("predict", "iris", "-d", '{"instances": [[3.0]]}')
        # Its paths are the protocol's own, so it comes by the service's host, also where REST comes by a path.
        by_grpc = platform.modelport("predict", "iris", "--protocol", "grpc", "-d", '{"instances": [[3.0]]}')
        assert json.loads(by_grpc)["outputs"][0]["data"] == [1]
    finally:
        write(before)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predict", "iris", "--model", "nope"], "iris serves no model 'nope'"),
        (["explain", "iris"], "iris explains nothing"),
        (["logs", "iris", "-c", "nope"], "There are: kserve-container, storage-initializer."),
    ],
)
def test_what_is_not_there_is_told_with_what_is(platform, words, told):
    """`iris has no example, give a body` sends people to write a body that can only be answered by 404."""
    done = subprocess.run(
        [sys.executable, "-m", "modelport", *words, "--dir", str(platform.folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr


def test_a_deleted_service_that_is_kept_says_by_what(platform):
    """`modelport delete` sends whoever waits in vain to `describe`."""

    async def keep(client):
        item = await client.get(INFERENCE_SERVICE, "default", "iris")
        body = {"apiVersion": item["apiVersion"], "kind": item["kind"], "spec": item["spec"]}
        body["metadata"] = {"name": "kept", "namespace": "default", "finalizers": ["example.com/hold"]}
        await client.create(INFERENCE_SERVICE, body)
        await client.delete(INFERENCE_SERVICE, "default", "kept")

    platform.ask(keep)
    assert "kept by its finalizers example.com/hold" in platform.modelport("describe", "kept")
    body = {"metadata": {"finalizers": None}}
    platform.ask(lambda client: client.patch(INFERENCE_SERVICE, "default", "kept", body))
