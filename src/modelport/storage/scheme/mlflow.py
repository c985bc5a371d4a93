"""`models:/name/version`, `models:/name@alias`: an MLflow model registry."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from modelport.kube.part import mapping
from modelport.storage.credentials import Credentials
from modelport.storage.failure import StorageError
from modelport.storage.ranged import reader
from modelport.storage.source import Context, Found, Listing, RemoteFile
from modelport.storage.transport import Answer, bad_status
from modelport.storage.transport import of as transport_of
from modelport.storage.uri import DEPTH, redact, safe_path, too_deep


def resolve(uri: str, context: Context) -> Found:
    """Asks the registry where a version's artifacts lie, and goes on there."""
    server = _Server(context)
    place = server.artifacts(uri.removeprefix("models:/").strip("/"))
    if place.startswith("mlflow-artifacts:"):
        return server.listing(re.sub(r"^mlflow-artifacts:(//[^/]*)?/*", "", place))
    from modelport.storage import scheme

    if place.startswith(("dbfs:", "runs:", "models:")):
        raise StorageError(
            "resolve",
            f"its artifacts lie at {redact(place)}, which only their own client reads",
            "Register the model with artifacts in an object store or behind the tracking server",
            reason="Unsupported",
        )
    if scheme.name_of(place) in scheme.TRUSTED_LOCAL:
        raise StorageError(
            "resolve",
            f"{server.name} says that its artifacts lie at {redact(place)}: a server's word opens no folder of this machine",
            "Start it with --artifacts-destination, so that it hands them out, or give that path itself as the URI",
            reason="Refused",
        )
    return scheme.resolve(place, context)


class _Server:
    def __init__(self, context: Context) -> None:
        given = context.credentials
        text = (given.get("MLFLOW_TRACKING_URI") or "").strip().rstrip("/")
        if not text.startswith(("http://", "https://")):
            raise StorageError(
                "resolve",
                f"MLFLOW_TRACKING_URI must be the tracking server's http address, got {text.rpartition('@')[2]!r}",
                "Set it in the environment, or in a Secret on the ServiceAccount",
                reason="InvalidURI",
            )
        parts = urlsplit(text)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self.name = f"the registry at {self._url}"
        self._transport = transport_of(context, verify=not given.flag("MLFLOW_TRACKING_INSECURE_TLS"))
        self._headers, self._credential = _login(given, text)

    def artifacts(self, name: str) -> str:
        """Where the artifacts of `name/version`, `name/stage`, `name@alias` or a logged model lie."""
        if re.fullmatch(r"m-[0-9a-f]{32}", name):
            return self._ask(f"logged-models/{name}")["model"]["info"]["artifact_uri"]
        model, at, alias = name.rpartition("@")
        if at:
            found = self._ask("registered-models/alias", {"name": model, "alias": alias})
            version = found["model_version"]["version"]
        else:
            model, _, version = alias.rpartition("/")
            if not model:
                raise StorageError(
                    "resolve",
                    "it names no version",
                    "Write models:/NAME/VERSION or models:/NAME@ALIAS",
                    reason="InvalidURI",
                )
            if not version.isdigit():
                version = self._latest(model, version)
        return self._ask("model-versions/get-download-uri", {"name": model, "version": version})[
            "artifact_uri"
        ]

    def _latest(self, model: str, stage: str) -> str:
        quoted = f"'{model}'" if "'" not in model else f'"{model}"'
        query = {"filter": f"name={quoted}", "max_results": "1000"}
        fitting: list[int] = []
        while True:
            found = self._ask("model-versions/search", query)
            fitting += [
                int(one["version"])
                for one in found.get("model_versions", [])
                if stage == "latest" or str(one.get("current_stage", "")).lower() == stage.lower()
            ]
            before, after = query.get("page_token"), found.get("next_page_token")
            if not after or after == before:
                break
            query["page_token"] = after
        if not fitting:
            raise StorageError(
                "resolve",
                f"{model} has no version of the stage {stage}",
                "Give a version's number, or an alias: models:/NAME@ALIAS",
                reason="NotFound",
            )
        return str(max(fitting))

    def listing(self, root: str) -> Listing:
        """Artifacts that the tracking server hands out itself."""
        base = f"{self._url}/api/2.0/mlflow-artifacts/artifacts"
        files: list[RemoteFile] = []

        def walk(folder: str, depth: int) -> None:
            query = urlencode({"path": f"{root}/{folder}".strip("/")})
            for one in self._get(f"{base}?{query}").get("files", []):
                path = f"{folder}/{one['path'].rpartition('/')[2]}".strip("/")
                if not one.get("is_dir"):
                    size = int(one["file_size"]) if one.get("file_size") is not None else None
                    files.append(
                        RemoteFile(
                            safe_path(path),
                            reader(
                                self._transport,
                                f"{base}/{quote(f'{root}/{path}')}",
                                secret_headers=lambda: self._headers,
                                credential=self._credential,
                                name=path,
                            ),
                            size=size,
                            version=f"{root} {size}",  # a version's artifacts never change
                            ranged=False,
                        )
                    )
                elif depth < DEPTH:
                    walk(safe_path(path), depth + 1)
                else:
                    raise too_deep(path)

        walk("", 0)
        return Listing(
            files=tuple(files), origin=f"{self._url}/{root}", credential=self._credential, unpack=False
        )

    def _ask(self, what: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        return self._get(f"{self._url}/api/2.0/mlflow/{what}" + (f"?{urlencode(query)}" if query else ""))

    def _get(self, url: str) -> dict[str, Any]:
        with self._transport.request("GET", url, secret_headers=self._headers) as answer:
            if answer.status in (400, 404):
                raise StorageError(
                    "resolve",
                    f"{self.name} says: {_message(answer) or 'not found'}",
                    "Check the model's name and version, and MLFLOW_TRACKING_URI",
                    reason="NotFound" if answer.status == 404 else "Failed",
                    credential=self._credential,
                )
            if answer.status != 200:
                raise bad_status(answer, "resolve", self._credential, self._url)
            return json.loads(answer.text())


def _message(answer: Answer) -> str:
    """What an error's body says; a proxy's own page says nothing."""
    try:
        return str(mapping(json.loads(answer.text(1 << 20))).get("message", ""))[:300]
    except ValueError:
        return ""


def _login(given: Credentials, address: str) -> tuple[dict[str, str], str]:
    """A token, a user and password, or those in the server's address: in the order of MLflow's own client."""
    if token := given.get("MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN"):
        source = given.source("MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN")
        return {"Authorization": f"Bearer {token}"}, f"the token of {source}"
    user, password = given.get("MLFLOW_TRACKING_USERNAME"), given.get("MLFLOW_TRACKING_PASSWORD")
    source = given.source("MLFLOW_TRACKING_USERNAME")
    if not user:
        parts = urlsplit(address)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        source = f"MLFLOW_TRACKING_URI, from {given.source('MLFLOW_TRACKING_URI')}"
    if not user:
        return {}, ""
    packed = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
    return {"Authorization": f"Basic {packed}"}, f"the user {user} of {source}"
