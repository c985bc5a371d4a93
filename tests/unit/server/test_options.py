"""Settings given in Python are held to the same bounds as those on the command line."""

import pytest

import modelport
from modelport.server.options import ModelOptions, ServerOptions
from modelport.server.ports import Bound, PortError


class Same(modelport.Model):
    def predict(self, payload, headers=None):
        return payload


@pytest.mark.parametrize("port", [65536, 99999, -1])
def test_a_port_that_is_none_is_refused(port):
    """Lost otherwise: the system takes the lower 16 bits, and a notebook serves on a port that nobody asked for."""
    with pytest.raises(PortError, match="--http-port: must be a port, 0 to 65535, got"):
        Bound(ServerOptions(http_port=port))


@pytest.mark.parametrize("name", ["threads", "max_batch_size", "queue_limit"])
def test_a_count_of_nothing_is_refused(name):
    """Lost otherwise: a server that is told to predict nothing at a time, and does something else."""
    with pytest.raises(ValueError, match=f"{name}: must be at least 1, got 0"):
        ModelOptions(**{name: 0})
    with pytest.raises(ValueError, match=name):
        modelport.serve(Same("same"), **{name: 0})
