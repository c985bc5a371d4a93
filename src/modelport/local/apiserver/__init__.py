"""The API server: Kubernetes' REST verbs over one SQLite log, a file a verb. Imports kinds and kube.

A request's way: `app` (token, address, limits) → `call` (what was asked) → a verb (`get`, `list`, `create`, …) →
the kind's `strategy` (defaults, rules) → `store` (one writer, an answer after fsync) → `answer` (JSON, Table).
Changes travel from the store's log to watchers. Every refusal is an `ApiError`, written in one place as a `Status`.
"""
