"""`models:/name/version`, `models:/name@alias`: an MLflow model registry."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import quote, urlencode

from modelport.storage.credentials import Credentials
from modelport.storage.failure import StorageError
from modelport.storage.ranged import reader
from modelport.storage.source import Context, Found, Listing, RemoteFile
from modelport.storage.transport import bad_status
from modelport.storage.transport import of as transport_of
from modelport.storage.uri import safe_path

DEPTH = 20


def resolve(uri: str, context: Context) -> Found:
    """Asks the registry where a version's artifacts lie, and goes on there."""
    server = _Server(context)
    place = server.artifacts(uri.removeprefix("models:/").strip("/"))
    if place.startswith("mlflow-artifacts:"):
        return server.listing(re.sub(r"^mlflow-artifacts:(//[^/]*)?/*", "", place))
    if place.startswith(("dbfs:", "runs:")):
        raise StorageError(
            "resolve",
            f"its artifacts lie at {place}, which only their own client reads",
            "Register the model with artifacts in an object store or behind the tracking server",
            reason="Unsupported",
        )
    from modelport.storage import scheme

    return scheme.resolve(place, context)


class _Server:
    def __init__(self, context: Context) -> None:
        given = context.credentials
        self._url = (given.get("MLFLOW_TRACKING_URI") or "").rstrip("/")
        if not self._url.startswith(("http://", "https://")):
            raise StorageError(
                "resolve",
                f"MLFLOW_TRACKING_URI must be the tracking server's http address, got {self._url!r}",
                "Set it in the environment, or in a Secret on the ServiceAccount",
                reason="InvalidURI",
            )
        self._transport = transport_of(context, verify=not given.flag("MLFLOW_TRACKING_INSECURE_TLS"))
        self._headers, self._credential = _login(given)

    def artifacts(self, name: str) -> str:
        """Where the artifacts of `name/version`, `name/stage`, `name@alias` or a logged model lie."""
        if re.fullmatch(r"m-[0-9a-f]{32}", name):
            return self._ask(f"logged-models/{name}")["model"]["info"]["artifact_uri"]
        model, at, alias = name.partition("@")
        if at:
            found = self._ask("registered-models/alias", {"name": model, "alias": alias})
            version = found["model_version"]["version"]
        else:
            model, _, version = name.rpartition("/")
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
        filters = f"name='{model}'"
        found = self._ask("model-versions/search", {"filter": filters, "max_results": "1000"}).get(
            "model_versions", []
        )
        fitting = [
            int(one["version"])
            for one in found
            if stage == "latest" or str(one.get("current_stage", "")).lower() == stage.lower()
        ]
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
                    walk(path, depth + 1)

        walk("", 0)
        return Listing(
            files=tuple(files), origin=f"{self._url}/{root}", credential=self._credential, unpack=False
        )

    def _ask(self, what: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        return self._get(f"{self._url}/api/2.0/mlflow/{what}" + (f"?{urlencode(query)}" if query else ""))

    def _get(self, url: str) -> dict[str, Any]:
        with self._transport.request("GET", url, secret_headers=self._headers) as answer:
            if answer.status == 404:
                message = ""
                body = answer.text(1 << 20)
                if body.startswith(b"{"):
                    message = str(json.loads(body).get("message", ""))
                raise StorageError(
                    "resolve",
                    f"the registry at {self._url} says: {message or 'not found'}",
                    "Check the model's name and version",
                    reason="NotFound",
                    credential=self._credential,
                )
            if answer.status != 200:
                raise bad_status(answer, "resolve", self._credential)
            return json.loads(answer.text())


def _login(given: Credentials) -> tuple[dict[str, str], str]:
    if token := given.get("MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN"):
        source = given.source("MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN")
        return {"Authorization": f"Bearer {token}"}, f"the token of {source}"
    user = given.get("MLFLOW_TRACKING_USERNAME")
    if user:
        pair = f"{user}:{given.get('MLFLOW_TRACKING_PASSWORD') or ''}"
        packed = base64.b64encode(pair.encode()).decode()
        return {
            "Authorization": f"Basic {packed}"
        }, f"the user {user} of {given.source('MLFLOW_TRACKING_USERNAME')}"
    return {}, ""
