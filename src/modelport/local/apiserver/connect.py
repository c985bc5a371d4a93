"""WebSockets: `pods/exec` and `pods/portforward`, from the request to what carries it out."""

from __future__ import annotations

from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket

from modelport.kube.errors import ApiError, bad_request
from modelport.kube.part import texts
from modelport.kube.resource import POD, Object, Resource
from modelport.local.apiserver import execution, forward
from modelport.local.apiserver.api import Api, decode
from modelport.local.apiserver.call import Address
from modelport.local.apiserver.discovery import unknown_path
from modelport.local.apiserver.execution import Asked, Execution
from modelport.local.apiserver.logs import container_of
from modelport.local.apiserver.not_here import not_here
from modelport.local.apiserver.options import truth
from modelport.local.apiserver.part import part


async def connect(api: Api, socket: WebSocket, address: Address) -> None:
    """Carries out an allowed request. ApiError before anything is accepted."""
    if (address.group, address.plural) != (POD.group, POD.plural):
        raise unknown_path()
    match address.subresource:
        case "exec":
            what = _execution(api, socket.query_params, address)
            asked = Asked(
                **{name: truth(socket.query_params, name) for name in ("stdin", "stdout", "stderr", "tty")}
            )
            await socket.accept(_protocol(socket, execution.PROTOCOLS))
            await execution.run(socket, what, asked)
        case "portforward":
            ip = _ip(api, address)
            protocol = _protocol(socket, forward.PROTOCOLS)
            if protocol == forward.TUNNEL:
                await socket.accept(protocol)
                await forward.tunnel(socket, ip)
            else:
                ports = _ports(socket.query_params)
                await socket.accept(protocol)
                await forward.channels(socket, ip, ports)
        case _:
            raise not_here(address.plural, address.subresource) or unknown_path()


def check(api: Api, query: QueryParams, address: Address) -> None:
    """ApiError where `connect` would refuse the request whatever the protocol."""
    if address.subresource == "exec":
        _execution(api, query, address)
    else:
        _ip(api, address)


def _execution(api: Api, query: QueryParams, address: Address) -> Execution:
    pod = _pod(api, address)
    command = query.getlist("command")
    if not command:
        raise bad_request("you must specify at least 1 command for the container")
    if api.execute is None:
        raise ApiError(501, "NotImplemented", "this API server has no node to run commands on")

    def find(resource: Resource, name: str) -> Object | None:
        return api.related.get(resource, address.namespace, name)

    return api.execute(pod, container_of(pod, query.get("container", "")), command, find)


def _ip(api: Api, address: Address) -> str:
    ip = str(part(_pod(api, address), "status").get("podIP") or "")
    if not ip:
        raise bad_request(f"unable to forward port because pod {address.name} has no address yet")
    return ip


def _pod(api: Api, address: Address) -> Object:
    return decode(api.row(api.registry.of(POD), address.namespace, address.name))


def _ports(query: QueryParams) -> list[int]:
    try:
        ports = [int(word) for text in query.getlist("ports") for word in text.split(",")]
    except ValueError as error:
        raise bad_request(f"query parameter ports: must be port numbers: {error}") from error
    if not ports or not all(0 < port < 65536 for port in ports):
        raise bad_request("query parameter ports: must name at least one port, 1 to 65535")
    return ports


def _protocol(socket: WebSocket, known: tuple[str, ...]) -> str | None:
    """The first that both know; None for a client that names none: it means channels in binary messages."""
    asked = texts(socket.scope.get("subprotocols"))
    if not asked:
        return None
    found = next((one for one in asked if one in known), None)
    if found is None:
        raise bad_request(
            f"Sec-WebSocket-Protocol: must be one of {', '.join(known)}, got {', '.join(asked)}"
        )
    return found
