"""Subresources that make no sense on one machine, or not in the way that was asked for."""

from __future__ import annotations

from modelport.kube.errors import ApiError

NOT_HERE = {
    "exec": "It is served over WebSockets alone: kubectl speaks them since 1.31",
    "attach": "Follow its output with kubectl logs -f",
    "portforward": "It is served over WebSockets alone: kubectl speaks them since 1.31, and pods listen on this machine's "
    "loopback: ask the pod's IP (kubectl get pod -o wide) directly",
    "proxy": "Pods and services listen on this machine's loopback: ask their address directly",
    "ephemeralcontainers": "The pod's processes are this machine's: debug them there",
    "resize": "Change the resources in the workload's template, which makes new pods",
    "token": "The platform's tokens are in its folder: modelport kubeconfig --role view|edit|admin",
}
"""Subresource to what to do instead."""


def not_here(plural: str, subresource: str) -> ApiError | None:
    """501 with what to do instead, for subresources of the core group that are not served (in this way)."""
    words = NOT_HERE.get(subresource.partition("/")[0])
    if words is None:
        return None
    return ApiError(501, "NotImplemented", f"{plural}/{subresource} is not served here in this way. {words}.")
