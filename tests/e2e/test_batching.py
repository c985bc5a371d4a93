"""Requests that share a batch: nobody may get another's answer, or another's error."""

from __future__ import annotations

import numpy as np
import pytest
from process import PREDICTORS, serving, together

from modelport.client.rest import ClientError

CLIENTS = 64


@pytest.fixture(scope="module")
def server(iris_file):
    """A short delay, so that requests do share batches however slow this machine is."""
    with serving(
        f"--model=iris={iris_file}", f"--model=echo={PREDICTORS}:Echo", "--batch-delay", "20"
    ) as server:
        yield server


def test_everybody_gets_their_own_answer(server, classifier, iris):
    """64 clients with rows of their own: answers that were swapped would be wrong predictions."""
    rows = iris[0]
    client = server.client("iris")

    def ask(index: int) -> None:
        for turn in range(5):
            mine = rows[[index, (index + turn) % 150, 2 * index]]
            own = classifier.predict_proba(mine) if index % 2 else classifier.predict(mine)
            assert np.allclose(client.predict(mine, predict_proba=bool(index % 2)), own, rtol=0, atol=1e-9)

    together(CLIENTS, ask)
    batches, requests = (
        server.metric(f"modelport_batch_requests_{part}", model_name="iris") for part in ("count", "sum")
    )
    assert batches < requests == CLIENTS * 5


def test_labels_are_the_same_alone_and_in_a_batch(server, classifier, iris):
    """A prediction must not depend on who else asks: labels are equal to the bit."""
    rows, client = iris[0], server.client("iris")
    alone = [client.predict(rows[[index]])[0] for index in range(CLIENTS)]
    joined = together(CLIENTS, lambda index: client.predict(rows[[index]])[0])
    assert alone == joined == classifier.predict(rows[:CLIENTS]).tolist()


DTYPES = ("float32", "float64", "int8", "int64", "uint16", "object")


def test_mixed_requests_do_not_mix(server):
    """Shapes, datatypes and parameters that differ share the server, not a batch."""
    client = server.client("echo")

    def ask(index: int):
        generator = np.random.default_rng(index)
        array = generator.integers(0, 100, (index % 3 + 1, index % 2 + 1)).astype(DTYPES[index % len(DTYPES)])
        array = array.astype(str).astype(object) if array.dtype == object else array
        got = client.infer({"x": array}, tag=f"tag {index % 4}")
        assert got["x"].dtype == array.dtype
        assert got["x"].tolist() == array.tolist()
        assert got["tag"].tolist() == [f"tag {index % 4}"] * len(array)
        return got["batch"].max() > len(array)

    assert any(together(CLIENTS, ask)), "nothing was joined, so this has shown nothing"


def test_a_bad_row_fails_alone(server):
    """One client's mistake must not fail those that happen to ask at the same time."""
    client = server.client("echo")

    def ask(index: int):
        row = np.array([[float(index), -1.0 if index == 7 else 2.0]])
        try:
            return client.infer({"x": row})["x"].tolist()
        except ClientError as error:
            return error.status, error.message

    answers = together(CLIENTS, ask)
    assert answers[7] == (400, "x: must not hold -1.")
    assert [answers[i] for i in range(CLIENTS) if i != 7] == [
        [[float(i), 2.0]] for i in range(CLIENTS) if i != 7
    ]


def test_no_batch_takes_longer_than_was_asked_for():
    """A service level is a time: whoever states it must not have to find the number of rows by trying."""
    with serving(f"--model=slow={PREDICTORS}:PerRow", "--batch-latency", "20") as server:
        client = server.client("slow")

        def ask(index: int) -> list[int]:
            return [int(client.predict(np.zeros((1, 1)))[0]) for _ in range(20)]

        found = np.array(together(CLIENTS, ask))
    # 10 rows take 20 ms, and more on a machine that oversleeps.
    assert 1 < found.max() <= 14, found.max()
