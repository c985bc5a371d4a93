"""Serving a model inside a test: the real server, in this process, on free ports.

def test_reddest_is_first():
    with modelport.testing.client(MyModel("m")) as client:
        assert client.predict([[1, 2]]) == [3]
"""

from __future__ import annotations

from modelport.inprocess import serve as client

__all__ = ["client"]
