"""The real kubectl against the embedded API server: what people type, and what they then see."""

from __future__ import annotations

import itertools
import json
import re
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiserver import ROOT, Kubectl, Process, find_kubectl, running

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "nginx:1", ports: [{containerPort: 80}]}]}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
spec: {containers: [{name: main, image: "nginx:1"}]}
"""
WIDGET = """
apiVersion: test.modelport.io/v1
kind: Widget
metadata: {name: one}
spec: {size: 3, parts: [{name: a}, {name: b}]}
"""
CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {tier: front}}
data: {a: "1", b: "2"}
"""


@pytest.fixture(scope="module")
def program() -> str:
    return find_kubectl()


@pytest.fixture(scope="module")
def server(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(tmp_path_factory.mktemp("kubectl")) as process:
        yield process


_numbers = itertools.count()


@pytest.fixture
def kubectl(program: str, server: Process, tmp_path: Path) -> Kubectl:
    run = Kubectl(program, server, tmp_path, f"test-{next(_numbers)}")
    with server.client() as http:
        assert http.post("/api/v1/namespaces", json={"metadata": {"name": run.namespace}}).status_code == 201
    return run


def read(kubectl: Kubectl, *words: str) -> Any:
    return json.loads(kubectl("get", *words, "-o", "json"))


# Apply


def test_apply_makes_leaves_and_changes(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", input=CONFIG) == "configmap/settings created\n"
    assert kubectl("apply", "-f", "-", input=CONFIG) == "configmap/settings unchanged\n"
    changed = CONFIG.replace('a: "1", b: "2"', 'b: "3", c: "4"')
    assert kubectl("apply", "-f", "-", input=changed) == "configmap/settings configured\n"
    assert read(kubectl, "cm", "settings")["data"] == {"b": "3", "c": "4"}, "what the file no longer has goes"


def test_apply_keeps_what_others_have_set(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=DEPLOYMENT)
    kubectl("annotate", "deployment", "web", "mine=yes")
    kubectl("apply", "-f", "-", input=DEPLOYMENT.replace("nginx:1", "nginx:2"))
    found = read(kubectl, "deployment", "web")
    assert found["metadata"]["annotations"]["mine"] == "yes"
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"
    assert found["metadata"]["generation"] == 2


def test_several_documents_and_kinds_are_applied_at_once(kubectl: Kubectl) -> None:
    text = "---".join((DEPLOYMENT, SERVICE, POD, WIDGET, CONFIG))
    assert kubectl("apply", "-f", "-", input=text).splitlines() == [
        "deployment.apps/web created",
        "service/web created",
        "pod/web-1 created",
        "widget.test.modelport.io/one created",
        "configmap/settings created",
    ]
    again = kubectl("apply", "-f", "-", input=text)
    assert again.count("unchanged") == 5, again


def test_apply_takes_custom_kinds_back_to_the_file(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=WIDGET)
    kubectl("patch", "widget", "one", "--type=merge", "-p", '{"spec":{"size":9}}')
    assert kubectl("apply", "-f", "-", input=WIDGET) == "widget.test.modelport.io/one configured\n"
    assert read(kubectl, "wd", "one")["spec"]["size"] == 3


def test_server_side_apply_shares_and_conflicts(kubectl: Kubectl) -> None:
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", input=CONFIG)
    other = CONFIG.replace('a: "1", b: "2"', 'a: "9"')
    words = kubectl.fails("apply", "--server-side", "--field-manager=other", "-f", "-", input=other)
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .data.a' in words
    kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", input=other)
    assert read(kubectl, "cm", "settings")["data"] == {"a": "9", "b": "2"}


@pytest.mark.parametrize(
    "text",
    [CONFIG, DEPLOYMENT, POD, SERVICE, WIDGET],
    ids=["config", "deployment", "pod", "service", "widget"],
)
def test_who_applied_client_side_may_go_over_to_server_side(kubectl: Kubectl, text: str) -> None:
    kubectl("apply", "-f", "-", input=text)
    done = kubectl.run("apply", "--server-side", "-f", "-", input=text)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    kind, name = yaml.safe_load(text)["kind"], yaml.safe_load(text)["metadata"]["name"]
    meta = read(kubectl, kind, name, "--show-managed-fields")["metadata"]
    managers = {(one["manager"], one["operation"]) for one in meta["managedFields"]}
    # kubectl keeps its annotation for older clients by a manager of its own.
    assert managers == {("kubectl", "Apply"), ("kubectl-last-applied", "Apply")}


def test_apply_with_a_kustomization(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "kustomization.yaml").write_text("resources: [config.yaml]\nnamePrefix: my-\n")
    assert kubectl("apply", "-k", str(tmp_path)) == "configmap/my-settings created\n"


def test_a_typing_error_is_named_before_anything_is_written(kubectl: Kubectl) -> None:
    words = kubectl.fails("apply", "-f", "-", input=DEPLOYMENT.replace("replicas: 2", "replica: 2"))
    assert 'strict decoding error: unknown field "spec.replica"' in words
    words = kubectl.fails("apply", "-f", "-", input=WIDGET.replace("size", "sze"))
    assert 'unknown field "spec.sze"' in words
    done = kubectl.run("apply", "--validate=warn", "-f", "-", input=WIDGET.replace("size", "sze"))
    assert 'Warning: unknown field "spec.sze"' in done.stderr
    words = kubectl.fails("apply", "-f", "-", input=DEPLOYMENT.replace("replicas: 2", "replicas: two"))
    assert "spec.replicas" in words


def test_dry_runs_write_nothing(kubectl: Kubectl) -> None:
    assert "created (server dry run)" in kubectl("apply", "--dry-run=server", "-f", "-", input=CONFIG)
    assert "created (dry run)" in kubectl("apply", "--dry-run=client", "-f", "-", input=CONFIG)
    assert "NotFound" in kubectl.fails("get", "cm", "settings")


def test_diff_shows_what_would_change(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=DEPLOYMENT)
    assert kubectl("diff", "-f", "-", input=DEPLOYMENT) == ""
    words = kubectl.fails("diff", "-f", "-", input=DEPLOYMENT.replace("replicas: 2", "replicas: 5"))
    assert "-  replicas: 2" in words
    assert "+  replicas: 5" in words
    assert read(kubectl, "deployment", "web")["spec"]["replicas"] == 2


# Create and replace


def test_create_by_command(kubectl: Kubectl) -> None:
    """kubectl's own commands send protocol buffers."""
    kubectl("create", "configmap", "c", "--from-literal=a=1")
    kubectl("create", "secret", "generic", "s", "--from-literal=password=hunter2")
    kubectl("create", "serviceaccount", "bob")
    kubectl("create", "deployment", "web", "--image=nginx:1", "--replicas=3", "--port=80")
    kubectl("create", "service", "clusterip", "svc", "--tcp=80:8080")
    kubectl("run", "one", "--image=busybox:1", "--env=A=b", "--labels=x=y", "--command", "--", "sleep", "1")
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    kubectl("autoscale", "deployment", "web", "--min=1", "--max=3", "--cpu=50%")
    assert read(kubectl, "cm", "c")["data"] == {"a": "1"}
    assert read(kubectl, "secret", "s")["data"] == {"password": "aHVudGVyMg=="}
    spec = read(kubectl, "deployment", "web")["spec"]
    assert spec["replicas"] == 3
    assert spec["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert read(kubectl, "service", "svc")["spec"]["ports"][0]["targetPort"] == 8080
    pod = read(kubectl, "pod", "one")
    assert pod["spec"]["containers"][0]["env"] == [{"name": "A", "value": "b"}]
    assert pod["metadata"]["labels"] == {"x": "y"}
    assert read(kubectl, "hpa", "web")["spec"]["maxReplicas"] == 3
    assert "already exists" in kubectl.fails("create", "configmap", "c")


def test_create_and_replace_from_a_file(kubectl: Kubectl) -> None:
    assert kubectl("create", "-f", "-", input=POD) == "pod/web-1 created\n"
    assert "AlreadyExists" in kubectl.fails("create", "-f", "-", input=POD)
    assert kubectl("replace", "-f", "-", input=POD.replace("nginx:1", "nginx:2")) == "pod/web-1 replaced\n"
    kubectl("create", "-f", "-", input=SERVICE)
    address = read(kubectl, "service", "web")["spec"]["clusterIP"]
    kubectl("replace", "-f", "-", input=SERVICE.replace("8080", "9090"))
    assert read(kubectl, "service", "web")["spec"]["clusterIP"] == address
    assert "NotFound" in kubectl.fails("replace", "-f", "-", input=CONFIG)


def test_a_stale_file_does_not_win(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("create", "-f", "-", input=CONFIG)
    old = kubectl("get", "cm", "settings", "-o", "yaml")
    kubectl("label", "cm", "settings", "x=y")
    assert "the object has been modified" in kubectl.fails("replace", "-f", "-", input=old)


# Get


def test_get_prints_tables(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input="---".join((DEPLOYMENT, SERVICE, POD, WIDGET)))
    lines = kubectl("get", "pods").splitlines()
    assert lines[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert lines[1].split()[:4] == ["web-1", "0/1", "Pending", "0"]
    wide = kubectl("get", "pods", "-o", "wide").splitlines()[0]
    assert wide.split()[5:] == ["IP", "NODE", "NOMINATED", "NODE", "READINESS", "GATES"]
    several = kubectl("get", "deployments,services,pods")
    assert re.search(r"^deployment.apps/web +0/2 +0 +0 +\d+s$", several, re.MULTILINE)
    assert re.search(r"^service/web +ClusterIP +127\.99\.\S+ +<none> +80/TCP +\d+s$", several, re.MULTILINE)
    widgets = kubectl("get", "wd").splitlines()
    assert widgets[0].split() == ["NAME", "SIZE", "PHASE", "READY", "AGE"]
    assert widgets[1].split()[:2] == ["one", "3"]
    everything = kubectl("get", "all")
    assert {"pod/web-1", "service/web", "deployment.apps/web", "widget.test.modelport.io/one"} <= set(
        everything.split()
    )
    assert kubectl("get", "pods", "--no-headers", "--show-labels").split()[-1] == "app=web"
    assert kubectl("get", "pods", "-L", "app").splitlines()[1].split()[-1] == "web"


def test_get_in_other_forms(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=CONFIG)
    assert kubectl("get", "cm", "settings", "-o", "name") == "configmap/settings\n"
    assert kubectl("get", "cm", "settings", "-o", "jsonpath={.data.a}") == "1"
    assert kubectl("get", "cm", "-o", "go-template={{range .items}}{{.metadata.name}};{{end}}") == "settings;"
    assert kubectl("get", "cm", "-o", "custom-columns=N:.metadata.name,A:.data.a").split() == [
        "N",
        "A",
        "settings",
        "1",
    ]
    found = yaml.safe_load(kubectl("get", "cm", "settings", "-o", "yaml"))
    assert found["data"] == {"a": "1", "b": "2"}
    listing = yaml.safe_load(kubectl("get", "cm", "-o", "yaml"))
    assert (listing["kind"], listing["items"][0]["kind"]) == ("List", "ConfigMap")
    assert json.loads(kubectl("get", "--raw", "/version"))["major"] == "1"


def test_get_selects(kubectl: Kubectl) -> None:
    for name, tier in (("a", "x"), ("b", "y"), ("c", "x")):
        kubectl("create", "configmap", name)
        kubectl("label", "configmap", name, f"tier={tier}")
    kubectl("create", "-f", "-", input=POD)
    assert kubectl("get", "cm", "-l", "tier=x", "-o", "name").split() == ["configmap/a", "configmap/c"]
    assert kubectl("get", "cm", "-l", "tier notin (x)", "-o", "name").split() == ["configmap/b"]
    assert kubectl("get", "cm", "--field-selector", "metadata.name=b", "-o", "name").split() == [
        "configmap/b"
    ]
    assert kubectl("get", "pods", "--field-selector", "status.phase=Pending", "-o", "name") == "pod/web-1\n"
    assert kubectl("get", "pods", "--field-selector", "spec.nodeName!=local", "-o", "name") == ""
    assert (
        kubectl("get", "cm", "--sort-by={.metadata.labels.tier}", "-o", "name").split()[-1] == "configmap/b"
    )
    assert kubectl("get", "cm", "--chunk-size=1", "-o", "name").count("configmap/") == 3
    everywhere = kubectl("get", "cm", "-A", "--no-headers")
    assert re.search(rf"^{kubectl.namespace} +a ", everywhere, re.MULTILINE)
    assert "No resources found" in kubectl.run("get", "secrets").stderr
    assert 'configmaps "absent" not found' in kubectl.fails("get", "cm", "absent")
    assert "the server doesn't have a resource type" in kubectl.fails("get", "nonsense")


def test_get_watches(kubectl: Kubectl) -> None:
    watching = kubectl.start("get", "cm", "-w", "--output-watch-events")
    table = kubectl.start("get", "cm", "-w", "--no-headers")
    try:
        kubectl("create", "configmap", "a")
        kubectl("label", "configmap", "a", "x=y")
        kubectl("delete", "configmap", "a")
        events = [words[:2] for words in lines_of(watching, 4)]
        assert events == [["EVENT", "NAME"], ["ADDED", "a"], ["MODIFIED", "a"], ["DELETED", "a"]]
        assert [words[:2] for words in lines_of(table, 3)] == [["a", "0"]] * 3
    finally:
        watching.kill()
        table.kill()
    for process in (watching, table):
        process.communicate()


def lines_of(process: subprocess.Popen[str], count: int) -> list[list[str]]:
    """Lines of a running program, in words; fails when they do not come."""
    found: list[list[str]] = []

    def collect() -> None:
        assert process.stdout is not None
        while len(found) < count:
            line = process.stdout.readline()
            if not line:
                return
            found.append(line.split())

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()
    reader.join(30)
    assert len(found) == count, found
    return found


# Describe, explain, discover


def test_describe(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input="---".join((DEPLOYMENT, SERVICE, POD, WIDGET)))
    pod = read(kubectl, "pod", "web-1")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {
            "kind": "Pod",
            "name": "web-1",
            "namespace": kubectl.namespace,
            "uid": pod["metadata"]["uid"],
            "apiVersion": "v1",
        },
        "reason": "FailedMount",
        "message": "no such folder",
        "type": "Warning",
        "source": {"component": "node"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 2,
    }
    kubectl("create", "-f", "-", input=json.dumps(event))
    words = kubectl("describe", "pod", "web-1")
    assert re.search(r"Node: +local", words)
    assert re.search(r"Warning +FailedMount .* node +no such folder", words)
    assert "no such folder" in kubectl("events", "--for", "pod/web-1")
    events = kubectl("get", "events").splitlines()
    assert events[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert "no such folder" in events[1]
    assert "2 desired" in kubectl("describe", "deployment", "web")
    assert re.search(r"IP: +127\.99\.", kubectl("describe", "service", "web"))
    assert re.search(r"Size: +3", kubectl("describe", "widget", "one"))
    assert "Status:       Active" in kubectl("describe", "namespace", kubectl.namespace)


def test_explain(kubectl: Kubectl) -> None:
    words = kubectl("explain", "pod.spec.containers.image")
    assert "FIELD: image <string>" in words
    assert "Container image name" in words
    words = kubectl("explain", "widget.spec")
    assert "size\t<integer>" in words
    assert "Its size in millimetres." in words
    assert "enum: red, green, blue" in words
    assert "predictor" in kubectl("explain", "isvc.spec")
    assert "Entrypoint array" in kubectl("explain", "isvc.spec.predictor.containers.command")
    assert "secretKeyRef" in kubectl("explain", "isvc.spec.predictor.model.env.valueFrom")
    assert "selector" in kubectl("explain", "deployment", "--recursive")
    assert "hostnames" in kubectl("explain", "httproute.spec")
    status = kubectl("explain", "isvc.status", "--recursive")
    assert {"modelStatus", "lastFailureInfo", "conditions", "observedGeneration"} <= set(status.split())
    for kind in ("isvc", "servingruntime", "clusterservingruntime", "inferencegraph", "tm", "llmisvc"):
        assert "<empty>" not in kubectl("explain", kind)
    assert 'field "nothing" does not exist' in kubectl.fails("explain", "pod.nothing")


def test_what_the_server_serves(kubectl: Kubectl) -> None:
    table = kubectl("api-resources", "--no-headers")
    kinds = {line.split()[-1] for line in table.splitlines()}
    assert {"Pod", "Deployment", "InferenceService", "ServingRuntime", "HTTPRoute", "Widget"} <= kinds
    cluster = kubectl("api-resources", "--namespaced=false", "-o", "name").split()
    assert {"namespaces", "nodes", "gadgets.test.modelport.io"} <= set(cluster)
    versions = kubectl("api-versions").split()
    assert {"v1", "apps/v1", "serving.kserve.io/v1beta1"} <= set(versions)
    version = json.loads(kubectl("version", "-o", "json"))
    assert version["serverVersion"]["gitVersion"].endswith("+modelport")
    assert "is running at" in kubectl("cluster-info")
    assert "widgets.test.modelport.io" in kubectl("get", "crd")
    kubectl("wait", "--for=condition=Established", "crd/widgets.test.modelport.io", "--timeout=10s")


def test_may_i(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "[*]" in kubectl("auth", "can-i", "--list")
    assert "admin" in kubectl("auth", "whoami")
    viewer = kubectl.as_role("view")
    assert viewer("auth", "can-i", "list", "pods") == "yes\n"
    assert viewer.fails("auth", "can-i", "get", "secrets").startswith("no")
    assert 'User "view" cannot list resource "secrets"' in viewer.fails("get", "secrets")
    assert "cannot create resource" in viewer.fails("create", "configmap", "a")
    kubectl.as_role("edit")("create", "configmap", "a")


# Change


def test_patch_in_three_ways(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=DEPLOYMENT)
    assert "patched" in kubectl("patch", "deployment", "web", "-p", '{"spec":{"replicas":3}}')
    assert "no change" in kubectl("patch", "deployment", "web", "-p", '{"spec":{"replicas":3}}')
    side = '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"envoy:1"}]}}}}'
    kubectl("patch", "deployment", "web", "-p", side)
    kubectl(
        "patch",
        "deployment",
        "web",
        "--type=json",
        "-p",
        '[{"op":"replace","path":"/spec/replicas","value":4}]',
    )
    kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"metadata":{"labels":{"tier":"x"}}}')
    found = read(kubectl, "deployment", "web")
    assert found["spec"]["replicas"] == 4
    assert {one["name"] for one in found["spec"]["template"]["spec"]["containers"]} == {"main", "side"}
    assert found["metadata"]["labels"] == {"app": "web", "tier": "x"}
    kubectl(
        "patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":1}}'
    )
    assert read(kubectl, "deployment", "web")["spec"]["replicas"] == 1


def test_edit(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("apply", "-f", "-", input=CONFIG)
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/a: "1"/a: "7"/\' "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    assert "edited" in kubectl("edit", "configmap", "settings", EDITOR=str(editor))
    assert read(kubectl, "cm", "settings")["data"]["a"] == "7"
    kubectl("apply", "-f", "-", input=WIDGET)
    editor.write_text("#!/bin/sh\nsed -i 's/size: 3/size: 13/' \"$1\"\n")
    done = kubectl.run("edit", "widget", "one", EDITOR=str(editor))
    kept = re.search(r'stored to "(.*)"', done.stderr)
    assert kept is not None, done.stderr
    assert "must not be 13. Choose 12 or 14." in Path(kept[1]).read_text(), "the editor shows why"
    Path(kept[1]).unlink()


def test_labels_and_annotations(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c")
    kubectl("label", "cm", "c", "a=1", "b=2")
    assert "already has a value (1)" in kubectl.fails("label", "cm", "c", "a=3")
    kubectl("label", "cm", "c", "a=3", "b-", "--overwrite")
    kubectl("annotate", "cm", "c", "note=some words")
    meta = read(kubectl, "cm", "c")["metadata"]
    assert meta["labels"] == {"a": "3"}
    assert meta["annotations"] == {"note": "some words"}
    assert "a lowercase RFC 1123 subdomain" in kubectl.fails("create", "configmap", "Not_Right")


def test_scale_and_set(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=DEPLOYMENT)
    kubectl("scale", "deployment", "web", "--replicas=5")
    assert read(kubectl, "deployment", "web")["spec"]["replicas"] == 5
    assert "Expected replicas to be 2, was 5" in kubectl.fails(
        "scale", "deployment", "web", "--current-replicas=2", "--replicas=3"
    )
    kubectl("set", "image", "deployment/web", "main=nginx:9")
    kubectl("set", "env", "deployment/web", "A=b")
    kubectl("set", "resources", "deployment/web", "--limits=cpu=1")
    main = read(kubectl, "deployment", "web")["spec"]["template"]["spec"]["containers"][0]
    assert (main["image"], main["env"]) == ("nginx:9", [{"name": "A", "value": "b"}])
    assert main["resources"]["limits"] == {"cpu": "1"}
    kubectl("apply", "-f", "-", input=WIDGET)
    kubectl("scale", "widget", "one", "--replicas=2")
    assert read(kubectl, "widget", "one")["spec"]["replicas"] == 2


def test_rollouts(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=DEPLOYMENT)
    status = kubectl.start("rollout", "status", "deployment/web", "--timeout=60s")
    lines_of(status, 1)
    done = {
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "observedGeneration": 1,
    }
    kubectl.set_status("deployment", "web", done)
    assert 'deployment "web" successfully rolled out' in status.communicate(timeout=60)[0]
    kubectl("rollout", "restart", "deployment/web")
    template = read(kubectl, "deployment", "web")["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    kubectl("rollout", "pause", "deployment/web")
    assert read(kubectl, "deployment", "web")["spec"]["paused"] is True
    kubectl("rollout", "resume", "deployment/web")


def test_wait(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=WIDGET)
    ready = kubectl.start("wait", "widget/one", "--for=condition=Ready", "--timeout=60s")
    phase = kubectl.start("wait", "widget/one", "--for=jsonpath={.status.phase}=Up", "--timeout=60s")
    gone = kubectl.start("wait", "widget/one", "--for=delete", "--timeout=60s")
    made = kubectl.start("wait", "widget/two", "--for=create", "--timeout=60s")
    kubectl.set_status("widget", "one", {"phase": "Up", "conditions": [{"type": "Ready", "status": "True"}]})
    assert "condition met" in ready.communicate(timeout=60)[0]
    assert "condition met" in phase.communicate(timeout=60)[0]
    kubectl("delete", "widget", "one")
    assert gone.wait(60) == 0
    gone.communicate()
    kubectl("apply", "-f", "-", input=WIDGET.replace("one", "two"))
    assert "condition met" in made.communicate(timeout=60)[0]
    assert "timed out waiting" in kubectl.fails("wait", "widget/two", "--for=condition=Ready", "--timeout=1s")


# Logs


def test_logs(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", input=POD)
    assert "is waiting to start: ContainerCreating" in kubectl.fails("logs", "web-1")
    folder = kubectl.server.folder / "pods" / f"{kubectl.namespace}_web-1" / "main"
    folder.mkdir(parents=True)
    (folder / "0.log").write_text("first\n")
    log = folder / "1.log"
    log.write_text("one\n2026-01-01T00:00:00Z two\n")
    up = [
        {
            "name": "main",
            "image": "x",
            "imageID": "",
            "ready": True,
            "restartCount": 1,
            "state": {"running": {}},
        }
    ]
    kubectl.set_status("pod", "web-1", {"phase": "Running", "containerStatuses": up})
    assert kubectl("logs", "web-1") == "one\n2026-01-01T00:00:00Z two\n"
    assert kubectl("logs", "web-1", "--tail=1") == "2026-01-01T00:00:00Z two\n"
    assert kubectl("logs", "web-1", "-c", "main", "--previous") == "first\n"
    assert kubectl("logs", "-l", "app=web", "--prefix").startswith("[pod/web-1/main] one")
    assert kubectl("logs", "web-1", "--since=1h") == ""
    assert kubectl("logs", "web-1", "--timestamps").splitlines()[1].endswith("2026-01-01T00:00:00Z two")
    following = kubectl.start("logs", "-f", "web-1", "--tail=1")
    assert lines_of(following, 1) == [["2026-01-01T00:00:00Z", "two"]]
    with log.open("a") as file:
        file.write("three\n")
    assert lines_of(following, 1) == [["three"]]
    up[0]["state"] = {"terminated": {"exitCode": 0}}
    kubectl.set_status("pod", "web-1", {"phase": "Running", "containerStatuses": up})
    assert following.communicate(timeout=30)[0] == ""
    assert following.returncode == 0


def test_what_is_not_served_says_so(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", input=POD)
    assert "pods/proxy is not served here in this way. Pods and services listen" in kubectl.fails(
        "get", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/pods/web-1/proxy"
    )
    kubectl.set_status("pod", "web-1", {"phase": "Running"})
    unknown = POD.replace("apiVersion: v1", "apiVersion: v7")
    assert 'no matches for kind "Pod" in version "v7"' in kubectl.fails("apply", "-f", "-", input=unknown)
    assert "Follow its output with kubectl logs -f" in kubectl.fails("attach", "web-1")


# Delete


def test_delete_by_name_label_and_file(kubectl: Kubectl) -> None:
    for name in ("a", "b", "c", "d"):
        kubectl("create", "configmap", name)
    kubectl("label", "cm", "b", "c", "x=y")
    assert kubectl("delete", "cm", "a").startswith('configmap "a" deleted')
    kubectl("delete", "cm", "-l", "x=y")
    assert kubectl("get", "cm", "-o", "name") == "configmap/d\n"
    kubectl("delete", "cm", "--all")
    kubectl("apply", "-f", "-", input=CONFIG)
    kubectl("delete", "-f", "-", input=CONFIG)
    assert "NotFound" in kubectl.fails("delete", "-f", "-", input=CONFIG)
    kubectl("delete", "-f", "-", "--ignore-not-found", input=CONFIG)


@pytest.mark.parametrize(
    ("how", "finalizers"), [("orphan", ["orphan"]), ("foreground", ["foregroundDeletion"])]
)
def test_delete_leaves_word_for_the_garbage_collector(
    kubectl: Kubectl, how: str, finalizers: list[str]
) -> None:
    kubectl("apply", "-f", "-", input=DEPLOYMENT)
    kubectl("delete", "deployment", "web", f"--cascade={how}", "--wait=false")
    assert read(kubectl, "deployment", "web")["metadata"]["finalizers"] == finalizers
    kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert "NotFound" in kubectl.fails("get", "deployment", "web")


def test_delete_waits_until_it_is_gone(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", input=POD)
    deleting = kubectl.start("delete", "pod", "web-1", "--grace-period=5")
    lines_of(deleting, 1)
    assert deleting.poll() is None, "the node has not ended it yet"
    pod = read(kubectl, "pod", "web-1")
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 5
    assert "Terminating" in kubectl("get", "pod", "web-1")
    kubectl("delete", "pod", "web-1", "--grace-period=0", "--force")
    assert deleting.wait(30) == 0
    deleting.communicate()


def test_delete_a_namespace_with_all_that_is_in_it(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input="---".join((DEPLOYMENT, SERVICE, WIDGET, CONFIG)))
    kubectl("delete", "namespace", kubectl.namespace, "--timeout=60s")
    assert "not found" in kubectl.fails("get", "namespace", kubectl.namespace)
    assert "may not be deleted" in kubectl.fails("delete", "namespace", "default")


def test_nodes(kubectl: Kubectl) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "local"}}
    kubectl("apply", "-f", "-", input=json.dumps(node))
    kubectl("cordon", "local")
    assert "SchedulingDisabled" in kubectl("get", "nodes")
    kubectl("uncordon", "local")
    kubectl("taint", "node", "local", "a=b:NoSchedule")
    assert read(kubectl, "node", "local")["spec"]["taints"] == [
        {"key": "a", "value": "b", "effect": "NoSchedule"}
    ]
    kubectl("describe", "node", "local")
    kubectl("delete", "node", "local")


# Our own kinds


def test_an_inference_service_of_kserves_documentation(kubectl: Kubectl) -> None:
    text = (ROOT / "examples/sklearn-iris.yaml").read_text()
    kubectl("apply", "-f", "-", input=text)
    assert "unchanged" in kubectl("apply", "-f", "-", input=text), (
        "the shorthand was rewritten, and is sent again"
    )
    assert "serverside-applied" in kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", input=text
    )
    lines = kubectl("get", "isvc").splitlines()
    assert lines[0].split()[:3] == ["NAME", "URL", "READY"]
    name = lines[1].split()[0]
    found = read(kubectl, "isvc", name)
    assert found["spec"]["predictor"]["model"]["modelFormat"]["name"] == "sklearn"
    kubectl("describe", "isvc", name)
    words = kubectl.fails(
        "patch", "isvc", name, "--type=merge", "-p", '{"spec":{"predictor":{"minReplicas":"many"}}}'
    )
    assert "spec.predictor.minReplicas" in words
