"""DELETE of a collection: every object that fits."""

from __future__ import annotations

from starlette.responses import Response

from modelport.kube.errors import ApiError
from modelport.local.apiserver.answer import plain, success
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.delete import asked, delete
from modelport.local.apiserver.select import selection


async def delete_collection(call: Call) -> Response:
    """Deletes, or marks, each of them; what somebody else deletes meanwhile is no error. ApiError 400."""
    options = await asked(call)
    wanted = selection(call)
    resource = call.served.resource
    async with call.api.store.snapshot() as snapshot:
        found = [row async for row in snapshot.rows(resource.qualified, wanted.namespace) if wanted.has(row)]
    for row in found:
        try:
            await delete(call.api, call.served.kept, row.namespace, row.name, options)
        except ApiError as error:
            if error.code != 404:
                raise
    return plain(success({"group": resource.group, "kind": resource.plural}), call.form)
