"""One prediction over gRPC, through the gateway."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from modelport.cli import Mistake, home, route

if TYPE_CHECKING:
    from modelport.kube.resource import Object
    from modelport.local.folder import Settings
    from modelport.protocol.datatype import Array

HINTS = {
    "UNAUTHENTICATED": "--key KEY, or MODELPORT_KEY in the environment",
    "UNAVAILABLE": "modelport describe NAME · modelport status",
    "NOT_FOUND": "--model NAME, where the model's name is not the service's",
}
AS_IN = 'as in: -d \'{"inputs": [{"name": …, "shape": …, "datatype": …, "data": …}]}\''


def ask(
    item: Object, authority: str | None, settings: Settings, model: str, body: Any, key: str | None
) -> dict[str, Any]:
    """The answer, as REST would have it. `authority`: the service's own host. A Mistake for a refusal."""
    from modelport.client.grpc import GrpcClient, GrpcError, GrpcMissing

    name = item["metadata"]["name"]
    if authority is None:
        raise route.unaddressed(item)
    target = route.reached(settings)
    certificate = Path(settings.tls_certificate).read_bytes() if settings.tls_certificate else None
    try:
        with GrpcClient(
            home.with_port(target, settings.gateway_port),
            authority=authority,
            certificate=certificate,
            certified_name=_certified_name(settings, target),
            token=key or "",
        ) as client:
            inputs = tensors(body, lambda: client.metadata(model))
            outputs = client.infer(model, inputs)
    except GrpcMissing as error:
        raise Mistake(str(error), "or ask by REST: --protocol v2") from error
    except GrpcError as error:
        raise Mistake(str(error), HINTS.get(error.code, "").replace("NAME", name)) from error
    return {"model_name": model, "outputs": [_plain(name, array) for name, array in outputs.items()]}


def _certified_name(settings: Settings, target: str) -> str:
    """A name that the gateway's certificate is for: it is trusted as a file, whatever the services are called."""
    if not settings.tls_certificate:
        return ""
    try:
        with (
            socket.create_connection((target, settings.gateway_port), timeout=10) as plain,
            route.trust(settings.tls_certificate).wrap_socket(plain) as secured,
        ):
            shown: Any = secured.getpeercert() or {}
    except OSError as error:
        raise Mistake(
            f"the gateway at {home.with_port(target, settings.gateway_port)} does not answer: {error}",
            "modelport status",
        ) from error
    names = [str(value) for _, value in shown.get("subjectAltName", ())]
    return names[0].replace("*.", "any.") if names else ""


def tensors(body: Any, metadata: Any) -> dict[str, Array]:
    """The inputs of a V2 body, or of V1's rows by what the model says of its inputs. A Mistake where they do not fit."""
    import numpy as np

    from modelport.protocol.datatype import numpy_dtype

    if not isinstance(body, dict):
        raise Mistake("the body must be an object with `inputs` or `instances`")
    given = cast("dict[str, Any]", body)
    try:
        if "inputs" in given:
            return {
                one["name"]: np.array(one["data"], dtype=numpy_dtype(one["datatype"])).reshape(one["shape"])
                for one in given["inputs"]
            }
        rows: list[Any] = given["instances"]
        declared: list[dict[str, Any]] = metadata()["inputs"]
        if not declared:
            raise Mistake("the model does not say what it takes, so rows cannot be sent by gRPC", AS_IN)
        if len(declared) == 1:
            only = declared[0]
            return {only["name"]: np.array(rows, dtype=numpy_dtype(only["datatype"]))}
        return {
            one["name"]: np.array(
                [row[place if isinstance(row, list) else one["name"]] for row in rows],
                dtype=numpy_dtype(one["datatype"]),
            )
            for place, one in enumerate(declared)
        }
    except (KeyError, IndexError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        if isinstance(error, TypeError):  # Python's words for it would be of lists and their indices
            what = "inputs must be objects, and rows have a value for each input"
        if isinstance(error, IndexError):
            what = "a row has fewer values than the model has inputs"
        raise Mistake(f"the body does not fit: {what}", AS_IN) from error


def _plain(name: str, array: Array) -> dict[str, Any]:
    from modelport.protocol.datatype import datatype_of

    return {
        "name": name,
        "datatype": datatype_of(array.dtype),
        "shape": list(array.shape),
        "data": array.ravel().tolist(),
    }
