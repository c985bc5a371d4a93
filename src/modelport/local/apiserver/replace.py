"""PUT: an object as it is to be."""

from __future__ import annotations

from typing import Any

from modelport.kube.errors import bad_request
from modelport.kube.resource import Object
from modelport.local.apiserver.api import Api
from modelport.local.apiserver.conform import conform
from modelport.local.apiserver.create import admit_new
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.registry import Served
from modelport.local.apiserver.update import update


async def replace(
    api: Api,
    served: Served,
    namespace: str,
    name: str,
    body: Any,
    options: WriteOptions,
    *,
    subresource: str = "",
) -> tuple[bytes, bool]:
    """The object as written, and whether it is new. ApiError 400, 404, 409, 422."""
    obj = conform(served, body, namespace, options)
    given = obj["metadata"].get("name")
    if given is None:
        raise bad_request("the name of the object must be provided: set metadata.name")
    if given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
    if (
        served.strategy.update_creates
        and not subresource
        and not obj["metadata"].get("resourceVersion")
        and api.find(served, namespace, name) is None
    ):
        return await admit_new(api, served.kept, namespace, served.taken(obj), options), True
    obj = served.taken(obj)

    def next_state(live: Object, old: Object) -> Object:
        del live, old
        return obj | {"metadata": dict(obj["metadata"])}

    value = await update(api, served.kept, namespace, name, next_state, options, subresource=subresource)
    return value, False
