"""Errors that a model or the server tells a client, each with the HTTP status that it becomes.

    ServeError              500
    ├── InvalidInput        400   the request does not fit the model
    ├── ModelNotFound       404
    ├── InferenceError      500   the model failed
    ├── Unimplemented       501   the model has no such feature
    ├── ServerNotReady      503
    ├── ModelNotReady       503
    └── HTTPError           any   a status of the model's own choice

The gRPC status follows from the HTTP status (`crates/dataplane/src/error.rs` holds the table).
"""

from __future__ import annotations


class ServeError(Exception):
    """An error whose message may be shown to the client as it is."""

    status: int = 500

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidInput(ServeError):
    """The request is malformed or does not fit the model: HTTP 400."""

    status = 400


class ModelNotFound(ServeError):
    """No model has this name: HTTP 404."""

    status = 404

    def __init__(self, model_name: str) -> None:
        super().__init__(f"Model with name {model_name} does not exist.")


class InferenceError(ServeError):
    """The model failed: HTTP 500."""


class Unimplemented(ServeError):
    """The model has no such feature: HTTP 501."""

    status = 501


class ServerNotReady(ServeError):
    """The server does not serve now: HTTP 503."""

    status = 503

    def __init__(self, reason: str = "Server is not ready.") -> None:
        super().__init__(reason)


class ModelNotReady(ServeError):
    """The model does not serve now: HTTP 503."""

    status = 503

    def __init__(self, model_name: str, detail: str = "") -> None:
        super().__init__(f"Model with name {model_name} is not ready. {detail}".rstrip())


class HTTPError(ServeError):
    """An error with a status of the model's own choice.

    `status` is an HTTP status of 400 to 599.
    """

    def __init__(self, status: int, reason: str) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"status: must be an HTTP error status (400 to 599), got {status}.")
        super().__init__(reason)
        self.status = status
