"""Workers that are started anew instead of forked: what macOS gets, and who asks for it."""

from __future__ import annotations

from pathlib import Path

from process import Server, until

SCRIPT = """
import os
import numpy as np
import modelport

class Pid(modelport.Model):
    def load(self) -> bool:
        self.ready = True
        return True

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), os.getpid())

if __name__ == "__main__":
    modelport.ModelServer(workers=2).start([Pid("pid")])
"""


def test_a_script_of_ones_own_serves_from_spawned_workers(tmp_path: Path):
    """On macOS a custom predictor would serve from one process only, or crash in Apple's libraries."""
    (tmp_path / "server.py").write_text(SCRIPT)
    server = Server(
        command=(str(tmp_path / "server.py"),),
        env={"MODELPORT_START_METHOD": "spawn"},
        ports=("--http_port", "0", "--grpc_port", "0"),
    )
    try:
        server.started()
        until(lambda: len(server.workers()) == 2, "two workers")
        pids = set(server.workers())
        seen: set[int] = set()

        def both() -> bool:  # a connection stays with the worker that took it
            answer = server.ask("/v1/models/pid:predict", body={"instances": [[0.0]]})
            seen.add(int(answer.json["predictions"][0]))
            return seen >= pids

        until(both, "answers of both")
        command = Path(f"/proc/{server.workers()[0]}/cmdline").read_bytes().split(b"\0")
        assert command[1].decode() == str(tmp_path / "server.py"), "a fork has no command line of its own"
        server.stop()
    finally:
        server.kill()


def test_a_model_that_cannot_be_loaded_is_told_as_ever(tmp_path: Path):
    """Else the person at the keyboard sees an exit code."""
    (tmp_path / "model.joblib").write_bytes(b"nonsense")
    server = Server(tmp_path / "model.joblib", env={"MODELPORT_START_METHOD": "spawn"})
    server.ended(1)
    assert "model.joblib" in server.stderr


def test_another_word_is_refused(tmp_path: Path):
    """A slip would leave the user with the other way, unnoticed."""
    server = Server(tmp_path, env={"MODELPORT_START_METHOD": "forkserver"})
    server.ended(2)
    assert "MODELPORT_START_METHOD: must be fork or spawn, got 'forkserver'" in server.stderr
