"""Pods on a real platform: containers together, volumes that follow, limits, probes, environments, logs."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from node_platform import CONFIG_MAP, PATIENCE_S, POD, config, container, is_ready, pod, running

from modelport.local.node import namespaces

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit" / "local" / "node"))
import wheels

SERVE = "import http.server as h; h.ThreadingHTTPServer(('0.0.0.0', 8080), h.SimpleHTTPRequestHandler).serve_forever()"


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with running(tmp_path_factory.mktemp("pods") / "platform") as found:
        yield found


@pytest.fixture
def alone():
    means = namespaces.find()
    if not means.kind:
        pytest.skip(f"this kernel, or this user, may not make namespaces: {means.missing}")


def test_containers_of_a_pod_share_volumes_and_localhost(platform, alone):
    """An init container prepares, one container serves, another asks it by localhost."""
    mount = [{"name": "shared", "mountPath": "/tmp/modelport-shared"}]
    asks = "import urllib.request as u; u.urlopen('http://localhost:8080/word'); print('asked', flush=True)"
    platform.create(
        POD,
        pod(
            "together",
            {
                "name": "server",
                "command": ["sh", "-c", f'cd /tmp/modelport-shared && exec python -c "{SERVE}"'],
                "volumeMounts": mount,
                "readinessProbe": {"httpGet": {"port": 8080, "path": "/word"}, "timeoutSeconds": 20},
            },
            {
                "name": "asker",
                "command": ["sh", "-c", 'touch asking; exec python -c "$CODE"; sleep 1000'],
                "env": [{"name": "CODE", "value": f"{asks}\nimport time; time.sleep(1000)"}],
                "startupProbe": {"exec": {"command": ["test", "-e", "asking"]}, "timeoutSeconds": 20},
            },
            initContainers=[
                {
                    "name": "first",
                    "image": "x",
                    "command": ["sh", "-c", "echo hello > /tmp/modelport-shared/word"],
                    "volumeMounts": mount,
                },
                {
                    "name": "second",
                    "image": "x",
                    "command": ["sh", "-c", "cat /tmp/modelport-shared/word"],
                    "volumeMounts": mount,
                },
            ],
            volumes=[{"name": "shared", "emptyDir": {}}],
        ),
    )
    platform.until_ready("together")
    platform.until("the asker's word", lambda: "asked" in platform.log("together", "asker"))
    assert platform.log("together", "second").strip() == "hello"
    address = platform.pod("together")["status"]["podIP"]
    with urllib.request.urlopen(f"http://{address}:8080/word", timeout=PATIENCE_S) as answer:
        assert answer.read() == b"hello\n"
    platform.delete("together", grace_s=0)


def test_an_init_container_that_fails_is_tried_again_and_told(platform):
    command = ["sh", "-c", "echo no database; exit 3"]
    platform.create(
        POD,
        pod(
            "stuck",
            {"command": ["sleep", "1000"]},
            initContainers=[{"name": "i", "image": "x", "command": command}],
        ),
    )
    found = platform.until(
        "a second try",
        lambda: container(platform.pod("stuck"), "i").get("restartCount", 0) > 1 and platform.pod("stuck"),
    )
    ended = container(found, "i")["lastState"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (3, "no database")
    assert platform.events("stuck")["BackOff"].endswith("container=i pod=stuck: no database")
    assert found["status"]["phase"] == "Pending"
    assert container(found)["state"]["waiting"]["reason"] == "PodInitializing"
    platform.delete("stuck", grace_s=0)


def test_what_stays_beside_the_containers_starts_before_them_and_ends_after_them(platform, tmp_path):
    """An init container with restartPolicy Always: the pod waits for its start, not for its end."""
    beside = (
        "trap 'echo proxy >> $PLACE; exit 0' TERM; until [ -e go ]; do sleep 0.05; done; echo up >> $PLACE;"
        " touch up; while :; do sleep 0.05; done"
    )
    place = tmp_path / "order"
    probe = {"exec": {"command": ["test", "-e", "up"]}, "timeoutSeconds": 20}
    env = {"env": [{"name": "PLACE", "value": str(place)}]}
    platform.create(
        POD,
        pod(
            "escorted",
            {"command": ["sh", "-c", "echo main >> $PLACE"], **env},
            restartPolicy="Never",
            initContainers=[
                {"name": "proxy", "image": "x", "restartPolicy": "Always", "startupProbe": probe}
                | {"command": ["sh", "-c", beside], **env},
            ],
        ),
    )
    platform.until("the proxy", lambda: container(platform.pod("escorted"), "proxy").get("containerID"))
    assert not container(platform.pod("escorted")).get("containerID"), "it is not started yet"
    (folder,) = (platform.folder / "pods").glob("default_escorted_*/proxy")
    (folder / "go").touch()
    platform.until("the end", lambda: platform.pod("escorted")["status"].get("phase") == "Succeeded")
    platform.until("the proxy's end", lambda: "proxy" in place.read_text())
    assert place.read_text().split() == ["up", "main", "proxy"]
    platform.delete("escorted", grace_s=0)


def test_why_a_container_does_not_start_is_an_event_of_its_pod(platform):
    """`kubectl describe pod` shows a waiting container's reason, never its message: the words are in the events."""
    platform.create(POD, pod("foreign", {"image": "nginx"}))
    of_key = {"configMapKeyRef": {"name": "away", "key": "k"}}
    platform.create(POD, pod("unset", {"command": ["true"], "env": [{"name": "A", "valueFrom": of_key}]}))
    mount = {"name": "v", "mountPath": "/v"}
    volume = {"name": "v", "configMap": {"name": "away"}}
    platform.create(POD, pod("typo", {"command": ["no-such-program"]}))
    platform.create(POD, pod("bare", {"command": ["true"], "volumeMounts": [mount]}, volumes=[volume]))

    for name, reason, words in (
        ("foreign", "Failed", "image 'nginx' is not known on this machine"),
        ("unset", "Failed", "away"),
        ("bare", "FailedMount", "away"),
        ("typo", "Failed", "command 'no-such-program'"),
    ):
        platform.until(
            f"the words about {name}", lambda n=name, r=reason, w=words: w in platform.events(n).get(r, "")
        )
        platform.delete(name, grace_s=0)


def test_a_port_that_is_in_use_in_the_pods_own_network_is_explained(platform, alone):
    """Nobody else is in there: that port 80 leads to the services is not to be guessed."""
    platform.create(POD, pod("eighty", {"command": ["python", "-m", "http.server", "80"]}))
    said = platform.until(
        "its end",
        lambda: container(platform.pod("eighty")).get("lastState", {}).get("terminated", {}).get("message"),
    )
    assert "Address already in use. In a pod's network port 80 leads to the other services" in said
    platform.delete("eighty", grace_s=0)


def test_what_a_container_lets_go_of_ends_with_it(platform):
    """A daemon in a session of its own: alive, it holds the port that the next run wants, and outlives the platform."""

    def daemons() -> set[str]:
        found = {word for _, word in platform.processes().items() if "sleep 7654" in word}
        return {word for word in found if not word.startswith("sh ")}

    command = ["sh", "-c", "setsid sleep 7654 & until [ -e crash ]; do sleep 0.05; done; rm crash; exit 1"]
    platform.create(POD, pod("loose", {"command": command}))
    platform.until("a daemon", lambda: len(daemons()) == 1)
    (folder,) = (platform.folder / "pods").glob("default_loose_*/c")
    (folder / "crash").touch()
    platform.until("the next run", lambda: container(platform.pod("loose")).get("restartCount") == 1)
    platform.until("its daemon alone", lambda: len(daemons()) == 1 and not (folder / "crash").exists())
    platform.delete("loose")
    platform.until("no folder left", lambda: not folder.exists())
    assert not daemons()


def test_a_pods_end_leaves_no_note(platform):
    """Else a platform that is changed all day fills its disk with files of how processes once ended."""
    names = [f"brief-{number}" for number in range(8)]
    for name in names:
        platform.create(
            POD, pod(name, {"command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.02; done"]})
        )
    platform.until_ready(*names)
    exits = platform.folder / "run" / "exits"
    before = set(exits.iterdir())
    for name in names:
        platform.delete(name)
    platform.until("their end", lambda: not [p for p in platform.pods() if p["metadata"]["name"] in names])
    # Pods of tests before this one may still be ending.
    platform.until("their notes gone", lambda: set(exits.iterdir()) <= before)


def test_files_of_a_configmap_change_with_it(platform):
    platform.apply(CONFIG_MAP, config("follow", {"level": "one"}))
    platform.create(
        POD,
        pod(
            "follower",
            {
                "command": ["sh", "-c", "cat $PLACE/level; exec sleep 1000"],
                "env": [{"name": "PLACE", "value": "/tmp/modelport-config"}],
                "volumeMounts": [{"name": "v", "mountPath": "/tmp/modelport-config"}],
            },
            volumes=[{"name": "v", "configMap": {"name": "follow"}}],
        ),
    )
    platform.until_ready("follower")
    (place,) = (platform.folder / "pods").glob("default_follower_*/volumes/v")
    assert (place / "level").read_text() == "one"
    platform.apply(CONFIG_MAP, config("follow", {"level": "two", "more": "x"}))
    platform.until(
        "the new file", lambda: (place / "level").read_text() == "two" and (place / "more").exists()
    )
    platform.delete("follower", grace_s=0)


def test_a_container_over_its_memory_limit_is_killed_with_words(platform):
    code = (
        "hold = bytearray(150 << 20); hold[::4096] = b'x' * len(hold[::4096]); import time; time.sleep(1000)"
    )
    limits = {"resources": {"limits": {"memory": "60Mi"}}}
    platform.create(POD, pod("glutton", {"command": ["python", "-c", code], **limits}, restartPolicy="Never"))
    found = platform.until(
        "its end", lambda: (one := platform.pod("glutton"))["status"].get("phase") == "Failed" and one
    )
    ended = container(found)["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    assert "more than its memory limit of 60Mi. Raise resources.limits.memory." in ended["message"]
    platform.delete("glutton", grace_s=0)


def test_a_container_that_hangs_is_started_anew(platform):
    command = ["sh", "-c", "echo run >> ../runs; touch alive; sleep 0.5; rm alive; exec sleep 1000"]
    probe = {
        "exec": {"command": ["test", "-e", "alive"]},
        "periodSeconds": 1,
        "failureThreshold": 1,
        "timeoutSeconds": 20,
    }
    platform.create(POD, pod("hanging", {"command": command, "livenessProbe": probe}))
    found = platform.until(
        "a restart",
        lambda: container(platform.pod("hanging")).get("restartCount") and platform.pod("hanging"),
    )
    last = container(found)["lastState"]["terminated"]
    assert last["message"].startswith("container c failed its liveness probe: command exited with 1")
    said = platform.events("hanging")["Unhealthy"]
    assert said == "container c: liveness probe: command exited with 1; it is started again"
    platform.delete("hanging", grace_s=0)


def test_a_strangers_answer_does_not_make_a_pod_ready(platform):
    """Something else that listens at a pod's address would get its requests while all is said to be well."""
    probe = {"tcpSocket": {"port": 9999}, "timeoutSeconds": 20, "periodSeconds": 1}
    platform.create(POD, pod("robbed", {"command": ["sleep", "1000"], "readinessProbe": probe}))
    platform.until("an address", lambda: container(platform.pod("robbed")).get("containerID"))
    address = platform.pod("robbed")["status"]["podIP"]
    listen = f"import socket, time; s = socket.create_server(('{address}', 9999)); time.sleep(1000)"
    stranger = subprocess.Popen([sys.executable, "-c", listen])
    try:
        said = platform.until(
            "words on the stranger",
            lambda: "held" in (ready_words(platform, "robbed")) and ready_words(platform, "robbed"),
        )
        assert f"port 9999 at {address} is held by process {stranger.pid}" in said
        assert f"kill {stranger.pid}" in platform.events("robbed")["Unhealthy"]
        assert not is_ready(platform.pod("robbed"))
    finally:
        stranger.kill()
        stranger.wait()
    platform.delete("robbed", grace_s=0)


def ready_words(platform, name: str) -> str:
    """The message of a pod's condition Ready."""
    conditions = platform.pod(name)["status"]["conditions"]
    return next((one.get("message", "") for one in conditions if one["type"] == "Ready"), "")


def test_a_model_with_packages_of_its_own_says_so_and_serves(platform, tmp_path):
    """From YAML with nothing but a requirements.txt, and the words when that cannot be."""
    lines = wheels.shelf(tmp_path / "shelf")
    pods = {}
    for name, wish in (("mild", "flavour==1.0"), ("hot", "flavour==2.0"), ("none", "flavour==9.9")):
        model = tmp_path / name
        model.mkdir()
        (model / "requirements.txt").write_text(lines + wish)
        pods[name] = pod(
            name,
            {
                "command": [
                    "python",
                    "-c",
                    "import flavour, time; print('flavour', flavour.version, flush=True); time.sleep(1000)",
                ],
                "volumeMounts": [{"name": "m", "mountPath": "/mnt/models", "readOnly": True}],
            },
            initContainers=[
                {
                    "name": "storage-initializer",
                    "image": "modelport/storage-initializer:latest",
                    "args": [f"file://{model}", "/mnt/models"],
                    "volumeMounts": [{"name": "m", "mountPath": "/mnt/models"}],
                }
            ],
            volumes=[{"name": "m", "emptyDir": {}}],
        )
        platform.create(POD, pods[name])
    platform.until_ready("mild", "hot")
    for name, version in (("mild", "1.0"), ("hot", "2.0")):
        platform.until(f"{name}'s word", lambda name=name, v=version: f"flavour {v}" in platform.log(name))
        assert "BuildingEnvironment" in platform.events(name)
    waiting = platform.until(
        "the refusal",
        lambda: (
            (w := container(platform.pod("none")).get("state", {}).get("waiting", {})).get("reason")
            == "CreateContainerError"
            and w
        ),
    )
    assert "requirements.txt of file://" in waiting["message"]
    assert "flavour" in waiting["message"]
    assert platform.events("none")["EnvironmentFailed"] == waiting["message"]
    for name in pods:
        platform.delete(name, grace_s=0)


def test_no_place_of_a_mount_stays_on_the_machine(platform, alone):
    """Who runs the platform as root finds no empty /mnt/models one day and wonders whose it is. Volumes in volumes have theirs."""
    place = f"/mnt/{platform.folder.parent.name}"
    mounts = [
        {"name": "a", "mountPath": f"{place}/models"},
        {"name": "b", "mountPath": f"{place}/models/in/it"},
    ]
    command = ["sh", "-c", f"echo yes > {place}/models/in/it/word; cat {place}/models/in/it/word; sleep 1000"]
    body = {"command": command, "volumeMounts": mounts}
    platform.create(
        POD, pod("placed", body, volumes=[{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}])
    )
    platform.until("its word", lambda: "yes" in platform.log("placed"))
    assert not Path(place).exists()
    (inner,) = (platform.folder / "pods").glob("default_placed_*/volumes/b/word")
    assert inner.read_text() == "yes\n"
    platform.delete("placed", grace_s=0)


def test_followers_of_a_log_go_on_over_a_cut(platform):
    """`kubectl logs -f` of a talkative container, whose log is kept small meanwhile."""
    setting = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "modelport-config", "namespace": "kserve"},
    }
    platform.apply(CONFIG_MAP, setting | {"data": {"logLimit": "100k"}})
    code = (
        "import time\n"
        "for i in range(60): print(f'line {i:04} ' + 'x' * 8000, flush=True); time.sleep(0.02)\n"
        "time.sleep(1000)"
    )
    platform.create(POD, pod("talkative", {"command": ["python", "-c", code]}))
    platform.until_ready("talkative")
    follow = subprocess.Popen(
        [sys.executable, "-m", "modelport", "logs", "pod/talkative", "-f", "--dir", str(platform.folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert follow.stdout is not None
        seen = []
        for line in follow.stdout:
            seen.append(line[:9])
            if line.startswith("line 0059"):
                break
    finally:
        follow.kill()
        follow.wait()
    numbers = [int(word.split()[1]) for word in seen]
    assert numbers == sorted(set(numbers)), "no line is told twice, or in halves"
    assert numbers[-1] == 59
    (log,) = (platform.folder / "pods").glob("default_talkative_*/c/0.log")
    platform.until("a cut", lambda: log.stat().st_blocks * 512 < 300_000)
    stamped = platform.log("talkative", timestamps="true", tailLines="1")
    assert json.dumps(stamped[:2]) == '"20"'
    platform.delete("talkative", grace_s=0)


def test_probes_by_grpc_and_secrets_in_files_on_our_own_server(platform, tmp_path_factory):
    """Our own server as a container, with the probe that KServe's YAML for gRPC has."""
    import joblib
    from sklearn.dummy import DummyRegressor

    folder = tmp_path_factory.mktemp("model")
    joblib.dump(
        DummyRegressor(strategy="constant", constant=1.0).fit([[0.0]], [1.0]), folder / "model.joblib"
    )
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "hidden", "namespace": "default"},
        "data": {"key": base64.b64encode(b"x").decode()},
    }
    from modelport.kube.resource import SECRET

    platform.apply(SECRET, secret)
    platform.create(
        POD,
        pod(
            "own",
            {
                "image": "modelport/server:latest",
                "args": ["/mnt/models", "--name", "own", "--http-port", "8080", "--grpc-port", "9000"],
                "volumeMounts": [
                    {"name": "m", "mountPath": "/mnt/models"},
                    {"name": "s", "mountPath": "/etc/s"},
                ],
                "readinessProbe": {"grpc": {"port": 9000}, "timeoutSeconds": 20},
            },
            volumes=[
                {"name": "m", "hostPath": {"path": str(folder)}},
                {"name": "s", "secret": {"secretName": "hidden"}},
            ],
        ),
    )
    platform.until_ready("own")
    (place,) = (platform.folder / "pods").glob("default_own_*/volumes/s/key")
    assert place.stat().st_mode & 0o077 == 0, "files of Secrets are this user's alone"
    assert is_ready(platform.pod("own"))
    platform.delete("own", grace_s=0)
