"""What `import modelport` offers."""

from __future__ import annotations

from importlib.metadata import version

import pytest

import modelport


def test_every_public_name_is_there():
    for name in modelport.__all__:
        assert getattr(modelport, name) is not None


def test_it_says_its_version():
    """What people paste into a bug report."""
    assert modelport.__version__ == version("modelport")


def test_an_unknown_name_is_refused_as_by_any_module():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = modelport.nothing
