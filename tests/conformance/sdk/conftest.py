"""One platform, one kubectl and one KServeClient for all tests here.

These tests run in an environment that holds KServe's SDK and nothing of ours (`tests/conformance/sdk.sh` makes it):
the platform is what its users have, a command. Elsewhere they are not collected.
"""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sdk_platform import Platform, running

collect_ignore_glob = [] if importlib.util.find_spec("kserve") else ["test_*"]


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Shared by all."""
    with running(tmp_path_factory.mktemp("sdk")) as found:
        yield found


@pytest.fixture(scope="session")
def sdk(platform: Platform) -> Any:
    """KServe's own client, as its documentation makes it."""
    from kserve import KServeClient

    return KServeClient(config_file=str(platform.kubeconfig))


@pytest.fixture
def namespace(platform: Platform) -> Iterator[str]:
    """A namespace that goes with the test."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    platform.must("kubectl", "create", "namespace", name)
    yield name
    platform.run("kubectl", "delete", "namespace", name, "--wait=false")
