"""Requests over the network. The only file that imports a Kubernetes client library: lightkube finds the configuration
(kubeconfig, in-cluster), and signs requests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx2
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError
from yaml import YAMLError

from modelport.kube.exchange import CONNECT_S, Broken


class Misconfigured(Exception):
    """There is no configuration that can be used. The message says where and why."""


def configuration(path: Path | None, context: str | None) -> SingleConfig:
    """From a kubeconfig file, or without one as kubectl does. Raises Misconfigured."""
    try:
        config = (KubeConfig.from_file(path) if path else KubeConfig.from_env()).get(context)
    except ConfigError as error:
        raise Misconfigured(f"no Kubernetes configuration: {error}") from error
    except (OSError, YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        where = path or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise Misconfigured(f"{where}: is no kubeconfig: {type(error).__name__}: {error}") from error
    if config is None:
        raise Misconfigured("no Kubernetes configuration")
    return config


def identity(config: SingleConfig) -> tuple[str, str] | None:
    """The token and the server, where a token is all that a user shows."""
    return (config.user.token, config.cluster.server) if config.user and config.user.token else None


def connect(config: SingleConfig) -> Remote:
    """The way to a configuration's server."""
    return Remote(AsyncClient(config, ConnectionParams(timeout=_patience(CONNECT_S), trust_env=False)))


class Remote:
    """A `Transport` over httpx2."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None = None,
        wait_s: float | None,
    ) -> _Answer:
        """See `Transport`."""
        request = self._http.build_request(
            method, path, params=dict(params), headers=dict(headers), content=body, timeout=_patience(wait_s)
        )
        try:
            return _Answer(await self._http.send(request, stream=True))
        except httpx2.TransportError as error:
            raise Broken(_words(error)) from error

    async def close(self) -> None:
        """See `Transport`."""
        await self._http.aclose()


class _Answer:
    def __init__(self, answer: httpx2.Response) -> None:
        self._answer = answer
        self.status = answer.status_code

    def header(self, name: str) -> str:
        return self._answer.headers.get(name, "")

    async def read(self) -> bytes:
        try:
            return await self._answer.aread()
        except httpx2.TransportError as error:
            raise Broken(_words(error)) from error
        finally:
            await self.close()

    async def lines(self) -> AsyncIterator[str]:
        try:
            async for line in self._answer.aiter_lines():
                yield line
        except httpx2.TransportError as error:
            raise Broken(_words(error)) from error

    async def close(self) -> None:
        await self._answer.aclose()


def _patience(wait_s: float | None) -> httpx2.Timeout:
    return httpx2.Timeout(CONNECT_S, read=wait_s, pool=None)


def _words(error: httpx2.TransportError) -> str:
    return str(error) or type(error).__name__
