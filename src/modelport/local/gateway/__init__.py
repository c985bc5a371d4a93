"""HTTPRoutes to the gateway's route table, purely, and the loop that keeps it on disk. Imports control, wire, kube.

    translate(seen)     HTTPRoutes, Gateways, Services, EndpointSlices, Secrets in; `wire.table` and verdicts out
    run(client, …)      watches, translates, writes the table, waits for the gateway to take it over, tells

A file a feature: `match` and `order` (which request), `filter` (what changes), `backend` and `cluster` (where to),
`attach` (which routes count), `internal` (names inside the platform), `auth` (who may), `certificate` (what listeners
show). Never imports apiserver, node or workloads: they meet through the API.
"""
