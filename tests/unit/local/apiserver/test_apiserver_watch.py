"""Watch: every change once and in order, as the watcher's selectors see it, until the end that was asked for."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from apiserver_api import Api, config, good, refused, wait_until, widget

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def short(event: dict[str, Any]) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


def test_changes_arrive_in_order(api: Api) -> None:
    version = api.list("configmaps")["metadata"]["resourceVersion"]
    with api.watch("configmaps", resourceVersion=version) as events:
        api.create("configmaps", config("a"))
        api.patch("configmaps", "a", {"data": {"x": "1"}})
        api.delete("configmaps", "a")
        found = [next(events) for _ in range(3)]
    assert [short(event) for event in found] == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in found]
    assert versions == sorted(set(versions))
    assert found[2]["object"]["data"] == {"x": "1"}, "the last state"


def test_a_watch_goes_on_from_where_another_ended(api: Api) -> None:
    start = api.list("configmaps")["metadata"]["resourceVersion"]
    api.create("configmaps", config("a"))
    second = api.create("configmaps", config("b"))["metadata"]["resourceVersion"]
    api.create("configmaps", config("c"))
    with api.watch("configmaps", resourceVersion=start) as events:
        assert [short(next(events))[1] for _ in range(3)] == ["a", "b", "c"]
    with api.watch("configmaps", resourceVersion=second) as events:
        assert short(next(events)) == ("ADDED", "c")


@pytest.mark.parametrize("version", ["", "0"])
def test_without_a_version_it_begins_with_what_there_is(api: Api, version: str) -> None:
    api.create("configmaps", config("a"))
    with api.watch("configmaps", resourceVersion=version) as events:
        assert short(next(events)) == ("ADDED", "a")
        api.create("configmaps", config("b"))
        assert short(next(events)) == ("ADDED", "b")


def test_other_namespaces_are_not_told(api: Api) -> None:
    with api.watch(
        "configmaps", resourceVersion=api.list("configmaps")["metadata"]["resourceVersion"]
    ) as events:
        good(api.http.post("/api/v1/namespaces/kserve/configmaps", json=config(f"in-{api.namespace}")), 201)
        api.create("configmaps", config("mine"))
        assert short(next(events)) == ("ADDED", "mine")


def test_an_object_that_comes_to_fit_is_added_and_one_that_ceases_to_is_deleted(api: Api) -> None:
    version = api.list("configmaps")["metadata"]["resourceVersion"]
    with api.watch("configmaps", resourceVersion=version, labelSelector="on=yes") as events:
        api.create("configmaps", config("a", x="1"))
        api.patch("configmaps", "a", {"metadata": {"labels": {"on": "yes"}}})
        api.patch("configmaps", "a", {"data": {"x": "2"}})
        off = api.patch("configmaps", "a", {"metadata": {"labels": {"on": "no"}}, "data": {"x": "3"}})
        api.patch("configmaps", "a", {"data": {"x": "4"}})
        api.delete("configmaps", "a")
        api.create("configmaps", config("b", {"on": "yes"}))
        found = [next(events) for _ in range(4)]
    assert [short(event) for event in found] == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("ADDED", "b"),
    ]
    gone = found[2]["object"]
    assert gone["data"] == {"x": "2"}, "as it was when it last fitted"
    assert gone["metadata"]["resourceVersion"] == off["metadata"]["resourceVersion"]


def test_fields_select_what_is_watched(api: Api) -> None:
    version = api.list("widgets")["metadata"]["resourceVersion"]
    with api.watch("widgets", resourceVersion=version, fieldSelector="metadata.name=b") as events:
        api.create("widgets", widget("a"))
        api.create("widgets", widget("b"))
        assert short(next(events)) == ("ADDED", "b")


def test_one_object_can_be_watched_by_its_address(api: Api) -> None:
    api.create("widgets", widget("a"))
    api.create("widgets", widget("b"))
    with api.http.stream(
        "GET", api.path("widgets", "b"), params={"watch": "1", "timeoutSeconds": "5"}
    ) as answer:
        lines = answer.iter_lines()
        assert short(json.loads(next(lines))) == ("ADDED", "b")


def test_a_watch_ends_when_its_time_is_up_with_a_bookmark_before(api: Api) -> None:
    version = api.create("configmaps", config("a"))["metadata"]["resourceVersion"]
    elsewhere = good(api.http.post("/api/v1/namespaces/default/secrets", json=secret(api.namespace)), 201)
    params = {"resourceVersion": version, "timeoutSeconds": "1", "allowWatchBookmarks": "true"}
    with api.watch("configmaps", **params) as events:
        found = list(events)
    assert [event["type"] for event in found] == ["BOOKMARK"]
    mark = found[0]["object"]
    assert (mark["kind"], mark["apiVersion"]) == ("ConfigMap", "v1")
    assert int(mark["metadata"]["resourceVersion"]) >= int(elsewhere["metadata"]["resourceVersion"])


def test_no_bookmarks_for_who_does_not_know_them(api: Api) -> None:
    version = api.create("configmaps", config("a"))["metadata"]["resourceVersion"]
    with api.watch("configmaps", resourceVersion=version, timeoutSeconds="1") as events:
        assert list(events) == []


def secret(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def test_initial_events_end_with_their_bookmark(api: Api) -> None:
    api.create("configmaps", config("a"))
    params = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    with api.watch("configmaps", **params) as events:
        assert short(next(events)) == ("ADDED", "a")
        mark = next(events)
        assert mark["type"] == "BOOKMARK"
        assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        made = api.create("configmaps", config("b"))
        assert short(next(events)) == ("ADDED", "b")
    assert int(mark["object"]["metadata"]["resourceVersion"]) < int(made["metadata"]["resourceVersion"])


@pytest.mark.parametrize(
    "params",
    [
        {"sendInitialEvents": "true"},
        {"sendInitialEvents": "true", "resourceVersionMatch": "Exact"},
        {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"},
        {"resourceVersionMatch": "NotOlderThan"},
    ],
    ids=str,
)
def test_initial_events_need_their_company(api: Api, params: dict[str, str]) -> None:
    refused(api.http.get(api.path("configmaps"), params=params | {"watch": "1"}), 422, "Invalid")


def test_the_forgotten_past_cannot_be_watched(fresh: Callable[..., Any]) -> None:
    with fresh(keep_rows=10, keep_s=0) as server, server.client() as http:
        api = Api(server, http, "default")
        version = api.create("configmaps", config("a"))["metadata"]["resourceVersion"]
        for index in range(1010):
            api.patch("configmaps", "a", {"data": {"n": str(index)}})
        answer = http.get(api.path("configmaps"), params={"watch": "1", "resourceVersion": version})
        assert "too old resource version" in refused(answer, 410, "Expired")["message"]


def test_the_future_cannot_be_watched(api: Api) -> None:
    """After a restored backup a client must list anew, not wait for versions that are long past."""
    answer = api.http.get(api.path("configmaps"), params={"watch": "1", "resourceVersion": "999999999"})
    refused(answer, 504, "Timeout")


def test_tables_are_watched_with_their_heads_once(api: Api) -> None:
    version = api.list("configmaps")["metadata"]["resourceVersion"]
    with api.watch("configmaps", accept=TABLE, resourceVersion=version) as events:
        api.create("configmaps", config("a", x="1"))
        api.patch("configmaps", "a", {"data": {"y": "2"}})
        first, second = next(events)["object"], next(events)["object"]
    assert first["kind"] == "Table"
    assert first["columnDefinitions"]
    assert not second["columnDefinitions"]
    assert (first["rows"][0]["cells"][1], second["rows"][0]["cells"][1]) == (1, 2)
    assert second["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


def test_a_client_that_does_not_read_is_cut_off_and_costs_bounded_memory(fresh: Callable[..., Any]) -> None:
    with fresh(queue_limit=20) as server, server.client() as http:
        api = Api(server, http, "default")
        wait_until(lambda: server.store.watchers >= 2)  # the server's own: namespaces, definitions
        before = server.store.watchers
        with socket.create_connection(("127.0.0.1", server.port)) as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            path = api.path("configmaps")
            slow.sendall(
                f"GET {path}?watch=1&resourceVersion=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-admin\r\n\r\n".encode()
            )
            wait_until(lambda: server.store.watchers > before)
            api.create("configmaps", config("big"))
            for index in range(200):
                api.patch("configmaps", "big", {"data": {"text": f"{index:05}" * 20_000}})
            wait_until(lambda: server.store.watchers == before)


def test_a_client_that_leaves_is_forgotten(fresh: Callable[..., Any]) -> None:
    with fresh() as server, server.client() as http:
        api = Api(server, http, "default")
        before = server.store.watchers
        with api.watch("configmaps", resourceVersion="0"):
            wait_until(lambda: server.store.watchers == before + 1)
        wait_until(lambda: server.store.watchers == before)


def test_watches_end_cleanly_when_the_server_stops(fresh: Callable[..., Any]) -> None:
    ended = threading.Event()
    with fresh() as server:

        def follow() -> None:
            with server.client() as http:
                with Api(server, http, "default").watch("configmaps", resourceVersion="0") as events:
                    for _ in events:
                        pass
            ended.set()

        thread = threading.Thread(target=follow)
        thread.start()
        wait_until(lambda: server.store.watchers == 3)
    thread.join(10)
    assert ended.is_set(), "the stream must end, not break"


def test_watches_resume_after_a_restart_of_the_server(fresh: Callable[..., Any]) -> None:
    with fresh() as server, server.client() as http:
        api = Api(server, http, "default")
        version = api.create("configmaps", config("a"))["metadata"]["resourceVersion"]
        api.create("configmaps", config("b"))
    with fresh() as server, server.client() as http:
        api = Api(server, http, "default")
        with api.watch("configmaps", resourceVersion=version) as events:
            assert short(next(events)) == ("ADDED", "b")
