"""What `modelport status` says of a program that is not there."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from modelport.cli import main, readiness
from modelport.cli.status import last_words, unwell
from modelport.local.folder import Folder, Settings


def test_a_program_that_gave_a_reason_is_quoted(tmp_path):
    """Whoever finds the API server gone would have to know where its log is, and to read it."""
    folder = Folder(tmp_path)
    folder.make()
    assert last_words(folder, "control") == ""
    log = folder.logs / "control.log"
    log.write_text(
        "2026-11-27 08:16:00,288 INFO modelport.control: API server on 127.0.0.1:58537\n"
        "2026-11-27 08:19:56,707 ERROR modelport.control: state.db: is damaged: it ends.\n"
    )
    said = " since 2026-11-27 08:19:56,707: state.db: is damaged: it ends."
    assert last_words(folder, "control") == said
    with log.open("a") as more:
        more.write("2026-11-27 08:20:00,288 INFO modelport.control: API server on 127.0.0.1:58537\n")
    assert last_words(folder, "control") == "", "it came back, and was killed: no reason of its own"


def test_a_stopped_platform_is_called_stopped(tmp_path, capsys):
    """Four programs that are `not running`, under an empty table, look like four faults."""
    folder = Folder(tmp_path)
    folder.make()
    folder.keep(Settings(gateway_port=8085, api_port=8086, pod_network="127.99"))
    assert main(["status", "--dir", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"The platform in {tmp_path} is stopped.\n\nhint: start it: modelport up --detach --dir {tmp_path}\n"
    )


def test_a_full_disk_is_told(tmp_path, capsys):
    """It explains everything else that does not work; who looks at the processes alone sees nothing wrong. A real file
    system of 4 MiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        folder = Folder(tmp_path)
        folder.make()
        folder.keep(Settings(gateway_port=8085, api_port=8086, pod_network="127.99"))
        words = f"the disk that holds {tmp_path} is full"
        for size, full in ((2 << 20, False), (3 << 20, True)):
            (tmp_path / "filler").write_bytes(bytes(size))
            main(["status", "--dir", str(tmp_path), "-o", "json"])
            assert (words in capsys.readouterr().out) is full
            main(["status", "--dir", str(tmp_path)])
            assert (words in capsys.readouterr().err) is full
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_who_stops_a_platform_that_starts_is_named_to_who_started_it(tmp_path):
    """`the API server does not answer`, with a log of its good end, sends people looking for a fault."""
    folder = Folder(tmp_path)
    folder.make()
    began = time.time()
    assert not readiness.stopped_since(folder, began)
    folder.stopping.touch()
    os.utime(folder.stopping, (began - 5, began - 5))
    assert not readiness.stopped_since(folder, began), "of the time before"
    os.utime(folder.stopping, (began + 1, began + 1))
    assert readiness.stopped_since(folder, began)


def test_a_service_that_was_stopped_on_purpose_is_no_problem():
    """Five hundred services that wait for their day would hide the one that is broken."""

    def service(name, *conditions):
        told = [{"type": kind, "status": truth, "message": words} for kind, truth, words in conditions]
        return {"metadata": {"name": name, "namespace": "default"}, "status": {"conditions": told}}

    words = "stopped by the annotation serving.kserve.io/stop"
    resting = service("resting", ("Ready", "False", words), ("Stopped", "True", words))
    broken = service("broken", ("Ready", "False", "no such folder"), ("Stopped", "False", ""))
    fine = service("fine", ("Ready", "True", ""), ("Stopped", "False", ""))
    assert unwell([resting, broken, fine]) == [
        {"namespace": "default", "name": "broken", "problem": "no such folder"}
    ]
