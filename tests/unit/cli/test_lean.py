"""A fetch holds little memory, and what it leaves out is there for who needs it after all."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from modelport.cli.lean import lean
lean()
import modelport.storage
import modelport.storage.scheme.s3
from modelport.cli import bar, fetch
for name in ("dis", "typing_extensions", "ssl", "urllib3", "fractions"):
    assert name not in sys.modules, f"{name} is imported by every fetch"
import inspect
def added(scheme: int) -> int: ...
assert str(inspect.signature(added)) == "(scheme: int) -> int"
import inspect
assert inspect is sys.modules["inspect"] and inspect.isfunction(added)
import typing_extensions
"""


def test_a_fetch_imports_no_more_than_it_needs_and_what_is_missing_comes_when_asked_for():
    """A model pod's first memory is its fetch's: an import at the top of a module can double it."""
    subprocess.run([sys.executable, "-c", CODE], check=True)
