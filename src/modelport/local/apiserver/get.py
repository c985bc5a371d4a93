"""GET of one object."""

from __future__ import annotations

from starlette.responses import Response

from modelport.local.apiserver.answer import one
from modelport.local.apiserver.call import Call


async def get(call: Call) -> Response:
    """The object. ApiError 404."""
    row = call.api.row(call.served, call.namespace, call.name)
    return one(call, row.value)
