"""What talks to any Kubernetes API: caches fed by watches, work queues, and a file a loop.

For the embedded platform and, later, the operator on a cluster. A loop reads (from its caches), decides (by pure
functions of `render`) and writes (by server-side apply), for a key, never for an event: what is lost in between is
seen the next time. Imports render, kinds and kube; never local.
"""
