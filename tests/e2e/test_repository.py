"""Loading and unloading through the repository API, in one process and in several."""

from __future__ import annotations

import os
import signal

import pytest
from process import PREDICTORS, Traffic, resident_kb, together, until

TROUBLED = f"--model=troubled={PREDICTORS}:Troubled"
V1 = {"instances": [[0, 0]]}


def post(server, name: str, verb: str):
    return server.ask(f"/v2/repository/models/{name}/{verb}", b"{}")


def answers(server, name: str, times: int = 12) -> set[object]:
    """What a model answers on connections of their own, so that every worker is asked in all likelihood."""
    got = set()
    for _ in range(times):
        answer = server.ask(f"/v1/models/{name}:predict", V1)
        got.add(answer.json["predictions"][0] if answer.status == 200 else answer.status)
    return got


def states(server) -> dict[str, tuple[str, str]]:
    rows = server.ask("/v2/repository/index", b"{}").json
    return {row["name"]: (row["state"], row.get("reason", "")) for row in rows}


@pytest.fixture
def repository(tmp_path, constants):
    """A folder with three models."""
    for value, name in enumerate(("a", "b", "c"), start=1):
        constants(tmp_path / "repository" / name / "model.joblib", value)
    return tmp_path / "repository"


@pytest.mark.parametrize("workers", [1, 2])
def test_load_and_unload_reach_all_workers(serve, repository, constants, workers):
    """A client talks to one worker at random: if only that one obeyed, answers would depend on luck."""
    server = serve(repository, TROUBLED, "--workers", workers)
    server.all_serve(workers)
    assert answers(server, "a") == {1.0}
    assert post(server, "a", "unload").status == 200
    assert answers(server, "a") == {404}
    assert states(server)["a"][0] == "UNAVAILABLE"
    constants(repository / "a" / "model.joblib", 10)
    assert post(server, "a", "load").status == 200
    assert answers(server, "a") == {10.0}
    constants(repository / "b" / "model.joblib", 20)
    assert post(server, "b", "load").status == 200
    assert answers(server, "b") == {20.0}
    constants(repository / "new" / "model.joblib", 30)
    assert post(server, "new", "load").status == 200
    assert answers(server, "new") == {30.0}
    unknown = post(server, "nobody", "load")
    assert unknown.status == 404
    assert "nobody" in unknown.error
    assert post(server, "nobody", "unload").status == 404


def test_a_replaced_worker_knows_what_was_asked_for(serve, repository, constants):
    """A worker that dies must not bring unloaded models back, nor forget those that were loaded since."""
    server = serve(repository, TROUBLED, "--workers", "2")
    old = server.all_serve()
    constants(repository / "new" / "model.joblib", 30)
    assert post(server, "new", "load").status == 200
    assert post(server, "b", "unload").status == 200
    for pid in old:
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: pid not in server.workers(), "it is gone")
        server.all_serve()
    assert not set(old) & set(server.workers())
    assert answers(server, "new", 30) == {30.0}
    assert answers(server, "b", 30) == {404}
    assert answers(server, "a", 30) == {1.0}


def test_orders_while_a_worker_starts(serve, repository, constants):
    """What is asked for while a worker is being replaced counts for it too, or it answers differently for ever."""
    server = serve(repository, TROUBLED, "--workers", "2")
    for turn in range(3):
        os.kill(server.all_serve()[turn % 2], signal.SIGKILL)
        constants(repository / "a" / "model.joblib", 100 + turn)
        for name, verb in (("a", "load"), ("b", "unload"), ("c", "unload"), ("c", "load")):
            assert until(lambda name=name, verb=verb: asked(server, name, verb), "an answer").status == 200
        server.all_serve()
        assert until(lambda: answers(server, "a", 30) == {100.0 + turn}, "a is the new one everywhere")
        # It serves a moment before it has caught up; what counts is that it does.
        assert until(lambda: answers(server, "b", 30) == {404}, "b is unloaded everywhere")
        assert until(lambda: answers(server, "c", 30) == {3.0}, "c is loaded everywhere")
        assert post(server, "b", "load").status == 200


def asked(server, name: str, verb: str):
    """The answer to an order; None where it went to the worker that was just killed."""
    try:
        return post(server, name, verb)
    except OSError:
        return None


def test_orders_that_cross(serve, repository):
    """Two clients ask different workers at once: if each worker waited for the other, both would hang for ever."""
    server = serve(repository, TROUBLED, "--workers", "2")
    server.all_serve()
    names = ["a", "b", "c", "a", "b", "c"]
    for verb in ("load", "unload", "load"):
        statuses = [
            answer.status for answer in together(6, lambda i, verb=verb: post(server, names[i], verb))
        ]
        assert set(statuses) <= ({200, 404} if verb == "unload" else {200})
    for turn in range(5):
        together(2, lambda i: post(server, "a", ["load", "unload"][i]))
        assert len(answers(server, "a")) == 1, f"turn {turn}: workers differ"
        assert post(server, "a", "load").status == 200


def test_a_model_that_cannot_be_loaded_keeps_the_old_one(serve, repository):
    """A bad update never takes a good model away; whoever asked for it reads why."""
    server = serve(repository, TROUBLED, "--workers", "2")
    server.all_serve()
    (repository / "a" / "model.joblib").write_bytes(b"rubbish")
    answer = post(server, "a", "load")
    assert answer.status == 503  # as KServe
    assert "model.joblib" in answer.error
    assert answers(server, "a") == {1.0}
    assert states(server)["a"][0] == "READY"
    until(lambda: "model.joblib" in states(server)["a"][1], "the worker that was asked says why")
    assert server.ready()


def test_replacing_a_model_under_load(serve, repository):
    """Reloading is an everyday thing: no request may fail for it."""
    server = serve(repository)
    with Traffic(f"{server.url}/v1/models/a:predict", V1) as traffic:
        for _ in range(10):
            assert post(server, "a", "load").status == 200
            traffic.flows(5)
    assert traffic.failures == []


def test_memory_stays_flat_over_many_loads(serve, repository):
    """A server that keeps what it has unloaded ends out of memory some night."""
    big = bytes(8 << 20)
    (repository / "a" / "model.joblib").write_bytes(heavy(big))
    server = serve(repository)
    (worker,) = server.workers()
    sizes: list[int] = []
    for turn in range(50):
        assert server.ask("/v1/models/a:predict", V1).status == 200
        assert post(server, "a", "unload").status == 200
        assert post(server, "a", "load").status == 200
        if turn % 10 == 9:
            sizes.append(resident_kb(worker))
    print("resident memory in kB, every ten cycles:", sizes)
    assert sizes[-1] < sizes[0] + (32 << 10), "memory grows with every cycle: 8 MB a model were kept"


def heavy(ballast: bytes) -> bytes:
    """A pickled model of some size."""
    import pickle

    from sklearn.dummy import DummyRegressor

    model = DummyRegressor(strategy="constant", constant=1.0).fit([[0.0, 0.0]], [0.0])
    model.ballast_ = ballast
    return pickle.dumps(model)
