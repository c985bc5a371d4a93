"""What becomes of an error that a model raises: what the client is told, and what the log keeps."""

from __future__ import annotations

import logging

from modelport.protocol.errors import HTTPError, InferenceError, ServeError, Unimplemented

logger = logging.getLogger("modelport")


def to_serve_error(error: BaseException, model_name: str) -> ServeError:
    """The error for the client, with its status.

    Our own errors and web frameworks' HTTP exceptions (`status_code`, `detail`) keep their status;
    NotImplementedError is 501; everything else is 500 with the error's text, as in KServe. What counts as the
    model's failure (500) is logged with its traceback, which the client never sees.
    """
    if isinstance(error, ServeError):
        if error.status == 500:
            logger.error("Model %s failed: %s", model_name, error, exc_info=error)
        return error
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status <= 599:
        return HTTPError(status, str(getattr(error, "detail", error)))
    if isinstance(error, NotImplementedError):
        return Unimplemented(str(error) or f"Model {model_name} does not implement this.")
    logger.error("Model %s failed: %s", model_name, error, exc_info=error)
    return InferenceError(str(error) or type(error).__name__)


def sayable(error: ServeError) -> str:
    """The error's text as UTF-8 can carry it: a model's own may hold half of a surrogate pair."""
    return str(error).encode(errors="backslashreplace").decode()
