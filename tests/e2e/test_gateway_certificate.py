"""The platform's own certificates, in the eyes of Python's TLS (OpenSSL, at its strictest)."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest

from modelport._dataplane import self_signed


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_strict_client_that_trusts_the_authority_connects(tmp_path, name):
    authority, certificate, key = self_signed(["localhost", "127.0.0.1"], 30)
    (tmp_path / "server.pem").write_text(certificate)
    (tmp_path / "server.key").write_text(key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    client = ssl.create_default_context(cadata=authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    near, far = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(far, server_side=True) as connection:
            connection.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(near, server_hostname=name) as connection:
        assert connection.recv(5) == b"hello"
    thread.join(timeout=60)


def test_names_are_needed():
    with pytest.raises(ValueError, match=r"names: there must be at least one"):
        self_signed([], 30)
