"""A request's body, within the limit."""

from __future__ import annotations

from starlette.requests import Request

from modelport.kube.errors import ApiError

BODY_LIMIT = 3 << 20
"""Largest body in bytes, as on a cluster."""


async def read_body(request: Request) -> bytes:
    """The whole body. ApiError 413 as soon as it is known to be too large."""
    claimed = request.headers.get("content-length", "")
    if claimed.isdecimal() and int(claimed) > BODY_LIMIT:
        raise _too_large(claimed)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_LIMIT:
            raise _too_large(f"{size} or more")
        parts.append(part)
    return b"".join(parts)


def _too_large(got: str) -> ApiError:
    return ApiError(
        413,
        "RequestEntityTooLarge",
        f"Request entity too large: limit is {BODY_LIMIT} bytes, got {got}. Keep large data in files or storage.",
    )
