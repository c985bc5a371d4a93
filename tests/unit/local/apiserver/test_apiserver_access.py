"""Who may call, and what each role may do."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from apiserver_api import Api, Server, config, good, refused

from modelport.local.apiserver.tokens import Tokens, issue, load


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "Bearer nobody"}, {"Authorization": "Basic eDp5"}], ids=str
)
def test_nobody_gets_in_without_a_token(server: Server, header: dict[str, str]) -> None:
    for path in ("/api", "/api/v1/pods", "/metrics", "/openapi/v3", "/nothing"):
        answer = httpx.get(server.url + path, headers=header, trust_env=False)
        assert refused(answer, 401, "Unauthorized")["message"] == "Unauthorized"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/version"])
def test_health_needs_no_token(server: Server, path: str) -> None:
    assert httpx.get(server.url + path, trust_env=False).status_code == 200


def test_view_reads_all_but_secrets(api: Api) -> None:
    api.create("configmaps", config())
    with api.server.client("view") as http:
        viewer = Api(api.server, http, api.namespace)
        assert viewer.names("configmaps") == ["settings"]
        good(http.get("/api"))
        good(http.get("/apis/apps/v1"))
        status = refused(http.get(viewer.path("secrets")), 403, "Forbidden")
        assert status["message"] == (
            f'secrets is forbidden: User "view" cannot list resource "secrets" in API group "" in the namespace '
            f'"{api.namespace}": the role "view" does not include it'
        )
        refused(http.get(viewer.path("secrets", "x")), 403, "Forbidden")
        refused(http.get("/api/v1/secrets", params={"watch": "1"}), 403, "Forbidden")
        for answer in (
            http.post(viewer.path("configmaps"), json=config("b")),
            http.put(viewer.path("configmaps", "settings"), json=config()),
            viewer.patched("configmaps", "settings", {}),
            viewer.delete("configmaps", "settings"),
            http.delete(viewer.path("configmaps")),
            http.post(viewer.path("pods", "web/eviction"), json={}),
        ):
            refused(answer, 403, "Forbidden")


def test_edit_writes_what_lies_in_namespaces(api: Api) -> None:
    with api.server.client("edit") as http:
        editor = Api(api.server, http, api.namespace)
        editor.create("secrets", {"metadata": {"name": "s"}})
        assert editor.names("secrets") == ["s"]
        good(http.get("/api/v1/namespaces"))
        status = refused(http.post("/api/v1/namespaces", json={"metadata": {"name": "x"}}), 403, "Forbidden")
        assert "at the cluster scope" in status["message"]
        refused(http.delete(f"/api/v1/namespaces/{api.namespace}"), 403, "Forbidden")
        refused(
            http.post("/apis/test.modelport.io/v1/gadgets", json={"metadata": {"name": "x"}}),
            403,
            "Forbidden",
        )


def test_a_changed_file_counts_from_the_next_request_on(fresh: Callable[..., Any]) -> None:
    with fresh() as server, server.client() as http:
        good(http.get("/api"))
        path: Path = server.folder / "tokens.json"
        token = issue(path, "bob", "view")
        bob = {"Authorization": f"Bearer {token}"}
        good(httpx.get(server.url + "/api", headers=bob, trust_env=False))
        second = issue(path, "bob", "view")
        assert httpx.get(server.url + "/api", headers=bob, trust_env=False).status_code == 401, (
            "the old one is dead"
        )
        bob = {"Authorization": f"Bearer {second}"}
        good(httpx.get(server.url + "/api", headers=bob, trust_env=False))
        path.write_text("{half")
        good(httpx.get(server.url + "/api", headers=bob, trust_env=False))
        path.unlink()
        assert httpx.get(server.url + "/api", headers=bob, trust_env=False).status_code == 401


def test_the_file_holds_no_tokens_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token = issue(path, "bob", "edit")
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    user = Tokens(path).user(token)
    assert user is not None
    assert (user.name, user.role) == ("bob", "edit")
    assert Tokens(path).user("") is None


@pytest.mark.parametrize("content", ["{", "{}", '{"tokens":[{"name":"a","role":"king","sha256":"x"}]}'])
def test_a_damaged_file_is_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"tokens\.json: .*Mend the file"):
        load(path)


# Questions about oneself


def review(http: httpx.Client, group: str, plural: str, spec: dict[str, Any]) -> dict[str, Any]:
    return good(http.post(f"/apis/{group}/v1/{plural}", json={"spec": spec}), 201)


@pytest.mark.parametrize(
    ("role", "asked", "yes"),
    [
        ("view", {"verb": "get", "resource": "pods", "namespace": "default"}, True),
        ("view", {"verb": "get", "resource": "secrets", "namespace": "default"}, False),
        ("view", {"verb": "create", "resource": "pods", "namespace": "default"}, False),
        ("view", {"verb": "*", "resource": "*"}, False),
        ("edit", {"verb": "create", "resource": "widgets", "group": "test.modelport.io"}, True),
        ("edit", {"verb": "delete", "resource": "namespaces"}, False),
        ("edit", {"verb": "get", "resource": "unheard-of"}, False),
        ("admin", {"verb": "*", "resource": "*", "group": "*"}, True),
    ],
    ids=str,
)
def test_may_i(api: Api, role: str, asked: dict[str, str], yes: bool) -> None:
    with api.server.client(role) as http:
        status = review(
            http, "authorization.k8s.io", "selfsubjectaccessreviews", {"resourceAttributes": asked}
        )["status"]
    assert status["allowed"] is yes
    assert yes or status["reason"] == f'the role "{role}" does not include it'


def test_may_i_read_a_path(api: Api) -> None:
    spec = {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}
    with api.server.client("view") as http:
        assert review(http, "authorization.k8s.io", "selfsubjectaccessreviews", spec)["status"] == {
            "allowed": True
        }
        answer = http.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json={"spec": {}})
        refused(answer, 422, "Invalid")


def test_what_may_i_agrees_with_may_i(api: Api) -> None:
    with api.server.client("view") as http:
        rules = review(http, "authorization.k8s.io", "selfsubjectrulesreviews", {"namespace": "default"})[
            "status"
        ]
    reading = {r for rule in rules["resourceRules"] if "list" in rule["verbs"] for r in rule["resources"]}
    assert "pods" in reading
    assert "secrets" not in reading
    assert not any(
        {"create", "*"} & set(rule["verbs"]) for rule in rules["resourceRules"] if "pods" in rule["resources"]
    )


def test_who_am_i(api: Api) -> None:
    info = review(api.http, "authentication.k8s.io", "selfsubjectreviews", {})["status"]["userInfo"]
    assert info == {"username": "admin", "groups": ["system:masters", "system:authenticated"]}


def test_a_token_is_never_told(api: Api) -> None:
    text = api.http.get("/metrics").text + json.dumps(api.list("configmaps"))
    assert "token-admin" not in text
