"""Fixtures of real servers, and models for them to serve."""

from __future__ import annotations

import joblib
import numpy as np
import process
import pytest
from process import Server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        report.sections.extend((f"server {server.process.pid}", str(server)) for server in process.LIVE)
    return report


@pytest.fixture
def serve():
    """Starts servers for one test; those that still run at its end are stopped, and must end well."""
    servers: list[Server] = []

    def start(*arguments, **more) -> Server:
        server = Server(*arguments, **more)
        servers.append(server)
        return server.started()

    yield start
    try:
        for server in servers:
            server.stop()
    finally:
        for server in servers:
            server.kill()


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder for models that several tests serve."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def iris():
    """Rows and labels of iris."""
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True)


@pytest.fixture(scope="session")
def classifier(iris):
    """A logistic regression on iris."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000).fit(*iris)


@pytest.fixture(scope="session")
def iris_file(models, classifier):
    """The same as `iris.joblib`."""
    path = models / "iris.joblib"
    joblib.dump(classifier, path)
    return path


@pytest.fixture(scope="session")
def constants(models):
    """Makes tiny model files that answer always the same number, for tests that tell versions apart."""
    from sklearn.dummy import DummyRegressor

    def make(path, value: float):
        path.parent.mkdir(parents=True, exist_ok=True)
        model = DummyRegressor(strategy="constant", constant=float(value)).fit(np.zeros((2, 2)), [0.0, 0.0])
        joblib.dump(model, path)
        return path

    return make
