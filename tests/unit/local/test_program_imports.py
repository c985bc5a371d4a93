"""What the platform's programs hold while nothing happens: a library that few requests need is imported by those."""

import subprocess
import sys

import pytest

UNNEEDED = {
    "httpx2": "a general HTTP client, with HTTP/2 and its tables: 5 MB",
    "lightkube": "a Kubernetes client, for clusters: 3 MB",
    "yaml": "clients speak JSON, and our own files are read without: 1 MB",
    "numpy": "no program of the platform computes",
    "sklearn": "nor loads a model",
    "wsproto": "for exec and port-forward alone",
    "modelport.storage.objectstore": "for buckets alone",
}


def left_in(script: str) -> list[str]:
    """Which of them are imported once a script has run, in an interpreter of its own."""
    show = f"import sys; print(*sorted({set(UNNEEDED)!r} & set(sys.modules)))"
    line = [sys.executable, "-c", f"{script}\n{show}"]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()


def test_what_all_programs_share_is_what_they_need():
    """Lost otherwise: some 20 MB of the platform at rest, and a part of its start."""
    script = "from modelport.local import program, supervisor\nassert program.share()"
    assert left_in(script) == []


@pytest.mark.parametrize("module", ["modelport.local.supervisor", "modelport.local.process"])
def test_a_supervisor_that_has_not_begun_is_small(module):
    """A second `modelport up` on the same folder says so at once."""
    script = f"import {module}, sys\nassert not {{'asyncio', 'uvicorn', 'starlette'}} & set(sys.modules)"
    assert left_in(script) == []


def test_a_platform_without_storage_settings_reads_no_yaml():
    """The node looks at them before every fetch."""
    assert left_in("from modelport.storage.settings import of_platform\nof_platform('', '')") == []
