"""Unknown fields of an incoming object: dropped, and told as the writer wishes."""

from __future__ import annotations

from modelport.kube.errors import bad_request
from modelport.kube.resource import Object
from modelport.kube.schema import prune
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.registry import Served


def shape(served: Served, obj: Object, options: WriteOptions) -> Object:
    """The object without fields that its schema lacks. ApiError 400 under Strict."""
    if served.schema is None:
        return obj
    pruned, unknown = prune(served.schema, obj)
    if unknown and options.field_validation == "Strict":
        words = ", ".join(f'unknown field "{path}"' for path in unknown)
        raise bad_request(
            f'{served.resource.kind} in version "{served.resource.version}" cannot be handled as a '
            f"{served.resource.kind}: strict decoding error: {words}"
        )
    if options.field_validation == "Warn":
        options.warnings.extend(f'unknown field "{path}"' for path in unknown)
    return pruned
