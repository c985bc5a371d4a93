"""PyTorch on a real GPU, through the server. Skipped where torch sees none; `tests/gpu.sh` runs it where it does."""

from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from process import Server, serving, until

torch: Any = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ROWS = torch.export.Dim("rows")


class Images(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 30 * 30, 10)
        )

    def forward(self, x):
        return self.net(x)


class Lookup(torch.nn.Module):
    """An index that is out of range fails inside a kernel: the process's CUDA context is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(5, 2)

    def forward(self, ids):
        return self.table(ids)


def save(path: Path, module: Any, example: Any) -> Path:
    if path.suffix == ".pt2":
        program = torch.export.export(module.eval(), (example,), dynamic_shapes=({0: ROWS},))
        torch.export.save(program, path)
    else:
        torch.jit.trace(module.eval(), example).save(path)
    return path


@pytest.fixture(params=["model.pt2", "model.pt"])
def images(request: Any, tmp_path: Path) -> Path:
    return save(tmp_path / request.param, Images(), torch.zeros(2, 3, 32, 32))


def infer(server: Server, array: Any, datatype: str) -> Any:
    tensor = {"name": "x", "shape": list(array.shape), "datatype": datatype, "data": array.ravel().tolist()}
    return server.ask("/v2/models/model/infer", body={"inputs": [tensor]})


def test_a_model_goes_to_the_gpu_and_answers_as_on_the_cpu(images: Path):
    # A GPU that stays idle is money lost; one that answers otherwise is worse.
    rows = np.random.default_rng(1).standard_normal((3, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        expected = Images().eval()(torch.from_numpy(rows)).numpy()
    with serving(images) as server:
        assert torch.cuda.get_device_name(0) in server.stdout
        answer = infer(server, rows, "FP32")
    assert answer.status == 200, answer
    got = np.array(answer.json["outputs"][0]["data"], np.float32).reshape(3, 10)
    np.testing.assert_allclose(got, expected, rtol=1e-2, atol=1e-2)


def test_the_cpu_can_be_asked_for(images: Path):
    # A small model is faster beside its caller, and a GPU may belong to somebody else.
    with serving(images, "--device", "cpu") as server:
        assert "on CPU" in server.stdout


def test_a_gpu_that_is_not_there_is_told(images: Path):
    # Else the user looks for the fault in the model.
    server = Server(images, "--device", "cuda:99")
    server.ended(1)
    assert "torch sees" in server.said


def test_more_rows_than_fit_fail_alone(tmp_path: Path):
    # Out of memory is the one CUDA error after which the next request succeeds.
    class Outer(torch.nn.Module):
        def forward(self, x):
            return (x.reshape(-1, 1) * x.reshape(1, -1)).sum(1).reshape(x.shape)

    with serving(save(tmp_path / "model.pt", Outer(), torch.zeros(2, 4))) as server:
        pids = server.workers()
        big = infer(server, np.ones((500_000, 1), np.float32), "FP32")
        assert big.status == 500
        assert "out of memory" in big.error
        assert infer(server, np.ones((2, 4), np.float32), "FP32").status == 200
        assert server.workers() == pids
        server.traceback_expected = True


@pytest.mark.parametrize("name", ["model.pt2", "model.pt"])
def test_a_lost_context_costs_its_request_and_no_more(name: str, tmp_path: Path):
    # Every later call in the process fails as well: without a new one the model is down until somebody looks.
    with serving(save(tmp_path / name, Lookup(), torch.zeros(2, 3, dtype=torch.int64))) as server:
        pids = server.workers()
        assert infer(server, np.array([[1, 2, 3]]), "INT64").status == 200
        lost = infer(server, np.array([[1, 2, 999]]), "INT64")
        assert lost.status == 500, lost
        assert "CUDA error" in lost.error
        until(lambda: server.workers() not in ([], pids), "another worker")
        until(lambda: _serves(server), "an answer after the context was lost")
        server.traceback_expected = True


def _serves(server: Server) -> bool:
    try:
        return infer(server, np.array([[1, 2, 3]]), "INT64").status == 200
    except (OSError, HTTPException):
        return False


def test_two_workers_share_a_gpu(images: Path):
    # CUDA must not be touched before a fork, or the second worker fails.
    with serving(images, "--workers", "2") as server:
        pids = until(lambda: len(found := server.workers()) == 2 and found, "two workers")
        rows = np.zeros((1, 3, 32, 32), np.float32)
        assert all(infer(server, rows, "FP32").status == 200 for _ in range(20))
        assert server.workers() == pids
