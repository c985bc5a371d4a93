"""A pod's network and files: what a command finds that was made for a container, as root and without being it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from modelport.local.folder import Folder
from modelport.local.node import leftover, namespaces, surroundings
from modelport.local.node.launch import Launch
from modelport.local.node.relay import SERVICES, Identity
from modelport.local.process import Process
from modelport.wire.fork import Mount, Room, Start

FLAGS = {"root": namespaces.NEWNET | namespaces.NEWNS}
FLAGS["user"] = FLAGS["root"] | namespaces.NEWUSER
LIMIT_S = 60.0
INSIDE = """
import os, sys, msgspec
from pathlib import Path
from modelport.forkserver import room
from modelport.wire.fork import Room
try:
    room.enter(msgspec.json.decode(sys.argv[1], type=Room), Path(sys.argv[2]))
except room.Shut as shut:
    sys.exit(f"shut: {shut}")
os.chdir(sys.argv[2])
exec(sys.argv[3])
"""
SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self): self.answer(b"hello from %s" % os.environb[b"WHO"])
    def do_POST(self): self.answer(self.rfile.read(int(self.headers["Content-Length"])))
    def answer(self, body):
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


@pytest.fixture(params=["root", "user"])
def kind(request):
    """How namespaces are made."""
    refused = namespaces._attempt(FLAGS[request.param])
    if refused is not None:
        pytest.skip(f"this kernel, or this user, may not: {refused}")
    return request.param


@pytest.fixture
def network(tmp_path, kind):
    """Starts pods' networks: a relay each, and processes inside."""
    children: list[subprocess.Popen] = []
    fixed = os.getpid() % 200 + 1
    gateway = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=echo, args=(gateway,), daemon=True).start()

    class Network:
        port = gateway.getsockname()[1]

        def relay(self, number: int, ports: str = "8080") -> tuple[str, Identity]:
            ip, path = f"127.66.{fixed}.{number}", tmp_path / f"relay-{number}.json"
            command = [sys.executable, "-m", "modelport.local.node.relay", "--ip", ip, "--ports", ports]
            command += ["--gateway", f"127.0.0.1:{self.port}", "--identity", str(path)]
            path.unlink(missing_ok=True)
            self.start([*command, *(["--user"] if kind == "user" else [])])
            until(path.exists)
            return ip, msgspec.json.decode(path.read_bytes(), type=Identity)

        def inside(self, relay: Identity, code: str, *mounts: Mount, **more) -> subprocess.Popen:
            room = Room(user=relay.user, network=relay.network, mounts=mounts)
            words = [msgspec.json.encode(room).decode(), str(tmp_path), code]
            return self.start([sys.executable, "-c", INSIDE, *words], **more)

        def start(self, command: list[str], **more) -> subprocess.Popen:
            children.append(subprocess.Popen(command, text=True, **more))
            return children[-1]

    yield Network()
    for child in reversed(children):
        child.kill()
        child.wait()
    gateway.close()


def echo(listener: socket.socket) -> None:
    """The gateway's part: says back what it is told, until the other side has said all."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)
            connection.sendall(b" - the end")

    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def ask(ip: str, body: bytes | None = None, port: int = 8080) -> bytes:
    connection = http.client.HTTPConnection(ip, port, timeout=LIMIT_S)
    connection.request("GET" if body is None else "POST", "/", body)
    found = connection.getresponse().read()
    connection.close()
    return found


def answers(ip: str, port: int = 8080) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return bool(ask(ip, port=port))
    return False


def is_refused(ip: str) -> bool:
    try:
        ask(ip)
    except ConnectionRefusedError:
        return True
    except (OSError, http.client.HTTPException):
        pass
    return False


def test_two_commands_may_both_bind_every_address(network):
    """Unmodified KServe servers do; on the machine itself the second one could not start."""
    pods = [network.relay(number) for number in (1, 2)]
    for number, (_, relay) in enumerate(pods):
        network.inside(relay, SERVER, env=os.environ | {"WHO": f"pod {number}"})
    for number, (ip, _) in enumerate(pods):
        until(lambda ip=ip: answers(ip))
        assert ask(ip) == f"hello from pod {number}".encode()


def test_big_bodies_come_through_whole(network):
    ip, relay = network.relay(1)
    network.inside(relay, SERVER, env=os.environ | {"WHO": "x"})
    until(lambda: answers(ip))
    body = os.urandom(8 << 20)
    assert ask(ip, body) == body


def test_services_are_reached_by_port_80(network):
    """`http://iris-predictor.default/`, and a side that has said all still hears the answer."""
    _, relay = network.relay(1)
    code = (
        f"import socket\nc = socket.create_connection(({SERVICES!r}, 80))\n"
        "c.sendall(b'x' * 300_000); c.shutdown(socket.SHUT_WR)\n"
        "found = b''\nwhile data := c.recv(65536): found += data\n"
        "print(len(found), found[-10:].decode())"
    )
    child = network.inside(relay, code, stdout=subprocess.PIPE)
    assert child.communicate(timeout=LIMIT_S)[0] == "300010  - the end\n"


def test_the_machine_is_not_seen_from_inside(network):
    _, relay = network.relay(1)
    code = (
        "import socket\n"
        f"try: socket.create_connection(('127.0.0.1', {network.port}))\n"
        "except OSError as error: print(error.strerror)"
    )
    child = network.inside(relay, code, stdout=subprocess.PIPE)
    assert child.communicate(timeout=LIMIT_S)[0] == "Connection refused\n"


def test_a_port_is_open_while_somebody_listens_on_it_inside(network):
    """A probe must not take a server for ready that is still importing its framework."""
    ip, relay = network.relay(1)
    with pytest.raises(ConnectionRefusedError):
        ask(ip)
    for _ in range(2):
        server = network.inside(relay, SERVER, env=os.environ | {"WHO": "x"})
        until(lambda: answers(ip))
        server.kill()
        server.wait()
        until(lambda: not answers(ip))
        until(lambda: is_refused(ip))


def test_the_port_of_services_is_no_port_of_the_pod(network, kind):
    """The relay itself listens on port 80 inside: a server on port 80 is not there before it listens."""
    if kind == "user":
        pytest.skip("port 80 outside is root's")
    ip, relay = network.relay(1, "80")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ip, 80)).close()
    server = SERVER.replace('("0.0.0.0", 8080)', '("127.0.0.1", 80)')
    network.inside(relay, server, env=os.environ | {"WHO": "x"})
    until(lambda: answers(ip, 80))


def test_a_killed_relay_leaves_its_address_free(network):
    ip, relay = network.relay(1)
    process = Process(relay.pid, relay.start)
    process.signal(9)
    until(lambda: not process.alive)
    again, _ = network.relay(1)
    assert again == ip


def test_a_model_lies_where_the_container_looks_for_it(network, tmp_path):
    model, hosts = tmp_path / "model", tmp_path / "hosts"
    model.mkdir()
    (model / "weights").write_text("42")
    hosts.write_text("127.0.0.2 iris-predictor.default\n")
    target = tmp_path / "mnt" / "models"
    _, relay = network.relay(1)
    code = (
        "from pathlib import Path\n"
        f"place = Path({str(target)!r})\n"
        "print((place / 'weights').read_text(), 'iris' in Path('/etc/hosts').read_text())\n"
        "try: (place / 'mine').touch()\n"
        "except OSError as error: print(error.strerror)"
    )
    mounts = (
        Mount(source=str(hosts), target="/etc/hosts"),
        Mount(source=str(model), target=str(target), read_only=True),
    )
    child = network.inside(relay, code, *mounts, stdout=subprocess.PIPE)
    assert child.communicate(timeout=LIMIT_S)[0] == "42 True\nRead-only file system\n"
    assert "iris" not in Path("/etc/hosts").read_text()
    assert not (target / "weights").exists(), "only the command sees it"


def test_a_place_that_this_user_may_not_make_is_made_for_the_command_alone(network, tmp_path, monkeypatch):
    """`/mnt/models` without being root: what else lies in the folder is still there."""
    closed, model = tmp_path / "closed", tmp_path / "model"
    (closed / "neighbour").mkdir(parents=True)
    (closed / "neighbour" / "file").write_text("still here")
    (closed / "link").symlink_to("neighbour/file")
    model.mkdir()
    (model / "weights").write_text("42")
    target = closed / "models"
    _, relay = network.relay(1)
    code = (
        "from pathlib import Path\n"
        f"print(*(Path({str(closed)!r}, name).read_text() for name in "
        "('models/weights', 'neighbour/file', 'link')), sep=', ')"
    )
    # As root nothing is closed: the room's own step is refused instead.
    refuse = (
        "from modelport.forkserver import room\nplace = room._place\n"
        f"def _place(target, *, is_folder):\n    if str(target) == {str(target)!r} and not covered: raise PermissionError(13, 'no')\n"
        "    place(target, is_folder=is_folder)\n"
        "cover, covered = room._cover, []\n"
        "def _cover(*words): covered.append(1); cover(*words)\n"
        "room._place, room._cover = _place, _cover\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "INSIDE", refuse + INSIDE)
    mount = Mount(source=str(model), target=str(target))
    child = network.inside(relay, code, mount, stdout=subprocess.PIPE)
    assert child.communicate(timeout=LIMIT_S)[0] == "42, still here, still here\n"
    assert not target.exists()


def launch(tmp_path: Path, *, own: bool = False) -> Launch:
    model = tmp_path / "model"
    model.mkdir(exist_ok=True)
    start = Start(
        arguments=["python", "-m", "server", "--model_dir=/mnt/models"],
        environment={"MODEL": "/mnt/models/x", "PATH": "/bin"},
        folder=str(tmp_path),
    )
    return Launch(
        python=sys.executable,
        start=start,
        termination_log=tmp_path / "log",
        mounted=[("/mnt/models", model, True)],
        own=own,
    )


def furnish(tmp_path, launch: Launch, means: namespaces.Means) -> tuple[Launch, str]:
    pod = {"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": {"containers": []}}
    known = surroundings.Surroundings(None, None, None)  # type: ignore[arg-type]
    known._means = means
    return asyncio.run(known.furnish(pod, launch, "127.1.1.1", []))


def test_without_namespaces_a_command_is_told_what_it_must_do(tmp_path):
    found, lacking = furnish(
        tmp_path, launch(tmp_path), namespaces.Means("", "unshare: Operation not permitted")
    )
    for words in (
        "unshare: Operation not permitted",
        "$POD_IP",
        "/mnt/models",
        "modelport doctor",
        "as root",
    ):
        assert words in lacking
    assert found.start.arguments[-1] == f"--model_dir={tmp_path}/model"
    assert found.start.environment == {"MODEL": f"{tmp_path}/model/x", "PATH": "/bin"}
    assert found.start.room == Room()


def test_our_own_server_needs_none(tmp_path):
    own = launch(tmp_path, own=True)
    assert furnish(tmp_path, own, namespaces.Means("", "no")) == (own, "")


def test_a_user_without_rights_is_told_which_are_missing():
    code = "from modelport.local.node import namespaces; import json, msgspec; print(msgspec.json.encode(namespaces.find()).decode())"
    prefix = []
    if os.geteuid() == 0:
        prefix = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
        with contextlib.suppress(OSError):
            if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
                pytest.skip("setpriv cannot take root's rights away here")
    done = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert found["kind"] != "root"
    assert found["kind"] == "user" or found["missing"], "which step failed"


def test_every_service_has_the_names_that_it_has_in_a_cluster():
    text = surroundings.names([{"metadata": {"name": "iris-predictor", "namespace": "team"}}])
    assert (
        f"{SERVICES} iris-predictor.team iris-predictor.team.svc iris-predictor.team.svc.cluster.local"
        in text
    )
    assert "127.0.0.1 localhost" in text


def test_ports_are_those_that_are_declared_and_kserves_own():
    pod = {"spec": {"containers": [{"ports": [{"containerPort": 9000}, {"name": "x"}]}, {}]}}
    assert surroundings.ports_of(pod) == [8080, 9000]


def test_ports_of_what_stays_beside_the_containers_are_open():
    proxy = {"ports": [{"containerPort": 9901}], "restartPolicy": "Always"}
    once = {"ports": [{"containerPort": 5432}]}
    pod = {"spec": {"initContainers": [proxy, once], "containers": [{}]}}
    assert surroundings.ports_of(pod) == [8080, 9901]


def test_a_file_of_a_volume_is_a_file_where_it_is_mounted(tmp_path):
    """`subPath: config.yaml` at /etc/app/config.yaml: the program must not find a folder there. A model that is a
    single file lies in a folder, where servers look for it."""
    config, model = tmp_path / "config.yaml", tmp_path / "model.joblib"
    config.touch()
    model.touch()
    pod = {"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": {"containers": []}}

    class Rooms(surroundings.Surroundings):
        async def _network(self, *_: object) -> Identity:
            return Identity(pid=1, start=1, user="", network="")

    known = Rooms(Folder(tmp_path / "platform"), None, None)  # type: ignore[arg-type]
    known._means = namespaces.Means("root")
    known._home(pod).mkdir(parents=True)
    given = msgspec.structs.replace(
        launch(tmp_path),
        mounted=[("/etc/app/config.yaml", config, True), ("/mnt/models", model, True)],
        models=frozenset({"/mnt/models"}),
    )
    found, _ = asyncio.run(known.furnish(pod, given, "127.1.1.1", []))
    sources = {mount.target: Path(mount.source) for mount in found.start.room.mounts}
    assert sources["/etc/app/config.yaml"] == config
    assert (sources["/mnt/models"] / "model.joblib").resolve() == model


def test_ports_of_our_own_servers_stay_free_for_them():
    """A foreign init container beside our own server: both on 8080, and only one can have it."""
    own = {"image": "modelport/server:1", "ports": [{"containerPort": 8080}]}
    foreign = {"image": "mine", "command": ["serve"], "ports": [{"containerPort": 9000}]}
    assert surroundings.ports_of({"spec": {"containers": [own]}}) == []
    assert surroundings.ports_of({"spec": {"containers": [own, foreign]}}) == [9000]


def until(condition) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def test_a_relay_that_a_node_before_has_started_is_waited_for(tmp_path):
    """Else a second one is started beside it, and the first outlives the pod and `modelport down`."""
    home = tmp_path / "pod"
    home.mkdir()
    code = (
        "import sys, time, pathlib, modelport.local.node.relay as relay\n"
        "time.sleep(0.5); relay._sign(pathlib.Path(sys.argv[1]), 1, user=False); time.sleep(1000)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(home / leftover.RELAYS[0])])
    try:
        started = Process.of(child.pid)
        (home / leftover.RELAYS[1]).write_bytes(msgspec.json.encode(started))
        known = surroundings.Surroundings(None, None, None)  # type: ignore[arg-type]
        found = asyncio.run(known._network({}, home, "127.1.1.1", namespaces.Means("root", "")))
        assert (found.pid, found.start) == (started.pid, started.start)
    finally:
        child.kill()
        child.wait()
