"""`modelport up` where it can do nothing: it says so, and changes nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time

import pytest

from modelport._dataplane import self_signed
from modelport.cli import main, serving_pair, up
from modelport.local import folder
from modelport.local.folder import Folder, Settings


@pytest.fixture
def running(tmp_path):
    """A folder whose platform runs, as far as `up` can tell."""
    home = Folder(tmp_path / "platform")
    home.make()
    home.keep(Settings(gateway_port=8085, api_port=8086, pod_network="127.99"))
    with (home.run / "supervisor.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield home


@pytest.mark.parametrize(
    "flags", [["--port", "9999"], ["--host", "::1"], ["--tls-key", "k", "--tls-certificate", "c"]]
)
def test_a_flag_that_a_running_platform_does_not_follow_is_refused(running, capsys, flags):
    before = running.settings()
    assert main(["up", "--detach", "--dir", str(running.path), *flags]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert "runs already" in said.err
    assert f"modelport down --dir {running.path}" in said.err
    assert running.settings() == before


@pytest.mark.parametrize("port", ["8080", "8081"])
def test_a_gateway_on_all_addresses_leaves_the_models_their_ports(tmp_path, capsys, port):
    """No model could listen any more, and each would call it the fault of `another program`."""
    flags = ["--host", "0.0.0.0", "--insecure", "--port", port]
    assert main(["up", "--detach", "--dir", str(tmp_path / "platform"), *flags]) == 2
    said = capsys.readouterr().err
    assert f"--port {port}: models listen on ports 8080 and 8081" in said
    assert "--port 8082" in said
    assert up._free_port("0.0.0.0") not in (8080, 8081)


def test_the_flags_that_it_runs_with_are_no_mistake(running, capsys):
    assert main(["up", "--detach", "--dir", str(running.path), "--port", "8085", "--insecure"]) == 0
    assert "http://127.0.0.1:8085" in capsys.readouterr().out


def test_a_full_disk_is_told_by_the_file_that_it_did_not_take(tmp_path, capsys, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder.os, "fsync", full)
    assert main(["up", "--detach", "--dir", str(tmp_path / "platform")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'platform' / 'platform.json'}: No space left on device\n")
    assert not (tmp_path / "platform" / "platform.json").exists()


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_a_platform_whose_folder_was_removed_is_found_by_its_processes(tmp_path, capsys, command):
    """`no platform` would be said of one that holds its ports, and a second one be started beside it."""
    gone = tmp_path / "gone"
    names = ["modelport.local.supervisor", "--dir", str(gone)]
    waits = [sys.executable, "-c", "print(flush=True); input()", *names]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # before that it may have no command line yet
        assert main([command, "--dir", str(gone)]) == 2
        said = capsys.readouterr().err
        child.kill()
    assert f"the folder {gone} was removed under a platform that runs on" in said
    assert f"kill -9 {child.pid}\n" in said
    assert not gone.exists()


@pytest.mark.parametrize(
    "flags",
    [["--port", "70000"], ["--host", "0.0.0.0"], ["--mirror", "x"], ["--access-log", "/nowhere/at/all"]],
)
def test_a_start_that_is_refused_leaves_no_folder(tmp_path, flags):
    """A mistyped --dir would be found one day, and taken for a platform's."""
    assert main(["up", "--detach", "--dir", str(tmp_path / "typo"), *flags]) == 2
    assert not (tmp_path / "typo").exists()


def test_a_folder_whose_sockets_would_have_too_long_names_is_refused_at_once(tmp_path, capsys):
    """Programs ended one after the other for two minutes, and each said that a path is too long."""
    name = "x" * (up.SOCKET_LIMIT - len(os.fsencode(Folder(tmp_path).fork_socket(sys.executable))))
    assert main(["up", "--detach", "--dir", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert f"--dir: {tmp_path / name} is 1 byte too long" in said
    assert "symbolic link" in said
    assert up._sockets_fit(Folder(tmp_path / name[1:])) is None


@pytest.fixture
def pairs(tmp_path):
    """Two certificates and their keys: a.pem with a.key, b.pem with b.key."""
    for name in ("a", "b"):
        _, certificate, key = self_signed([f"{name}.test"], 30)
        (tmp_path / f"{name}.pem").write_text(certificate)
        (tmp_path / f"{name}.key").write_text(key)
    return tmp_path


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("a.pem", "b.key", "--tls-key: {}/b.key: does not fit the first certificate in --tls-certificate."),
        ("a.key", "a.pem", "--tls-certificate: {}/a.key: holds no certificate in PEM"),
        ("a.pem", "a.pem", "--tls-key: {}/a.pem: holds no private key in PEM"),
        ("nope", "a.key", "--tls-certificate: {}/nope: no such file"),
    ],
)
def test_a_certificate_that_cannot_serve_is_refused_before_anything_starts(
    pairs, capsys, certificate, key, words
):
    """The gateway ended again and again for two minutes."""
    flags = ["--tls-certificate", str(pairs / certificate), "--tls-key", str(pairs / key)]
    assert main(["up", "--detach", "--dir", str(pairs / "p"), "--host", "127.0.0.1", *flags]) == 2
    assert f"error: {words.format(pairs)}" in capsys.readouterr().err
    assert not (pairs / "p").exists()


def test_a_certificate_that_has_expired_is_served_with_a_warning(pairs, capsys):
    """A platform that is started again serves what it served; who reads the words knows why clients refuse it."""
    serving_pair.check(str(pairs / "a.pem"), str(pairs / "a.key"), time.time())
    assert capsys.readouterr().err == ""
    serving_pair.check(str(pairs / "a.pem"), str(pairs / "a.key"), 4e9)
    assert f"warning: --tls-certificate: {pairs}/a.pem has expired" in capsys.readouterr().err
