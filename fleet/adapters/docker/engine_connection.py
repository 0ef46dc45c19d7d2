"""The way to one Engine: this machine's, one of the network's, or a builder's over ``ssh://``."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import docker
from docker.context import ContextAPI
from docker.transport import UnixHTTPAdapter
from docker.utils import kwargs_from_env

from fleet.adapters.docker.docker_errors import translated
from fleet.adapters.docker.ssh_tunnel import SshTunnel

_ANSWER_S = 60
"""For one answer of the Engine; builds and jobs have deadlines of their own."""


class _OnePool(UnixHTTPAdapter):
    """Keeps a connection for whatever is asked next; the SDK's own keeps one for each address that was ever asked."""

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:  # noqa: ARG002
        return super().get_connection("http+docker://localhost", proxies)


class EngineConnection:
    """Connects at first use; safe to use from several threads.

    ``endpoint``: ``local`` (DOCKER_HOST, else the docker CLI's current context, else the default socket),
    ``ssh://user@host`` (through the ssh client, so its config, agent and known hosts apply), ``unix://``, ``tcp://``.
    ``ssh`` is that client's command.
    """

    def __init__(self, endpoint: str, ssh: Sequence[str]) -> None:
        self._endpoint, self._ssh = endpoint, ssh
        self.where = _described(endpoint)
        """The Engine as errors name it."""
        self._local = threading.local()
        self._lock = threading.Lock()
        self._tunnel: SshTunnel | None = None

    def api(self) -> docker.APIClient:
        """Return this thread's connection: requests sessions are not made for sharing."""
        client: docker.APIClient | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = self._connect()
        return client

    def translated(self, doing: str) -> AbstractContextManager[None]:
        """Turn what the SDK raises inside into DockerError; ``doing`` completes "Docker at X could not …"."""
        return translated(self.where, doing, lambda: self._tunnel.said() if self._tunnel is not None else "")

    def _connect(self) -> docker.APIClient:
        options: dict[str, Any] = {"version": "auto", "timeout": _ANSWER_S}
        if self._endpoint == "local":
            options.update(_local_endpoint())
        else:
            options["base_url"] = self._endpoint
        url = str(options.get("base_url", ""))
        if url.startswith("ssh://"):
            options["base_url"] = self._tunnel_to(url).url
        client = docker.APIClient(**options)
        if url.startswith("ssh://"):  # each connection is an ssh
            first = client.get_adapter(client.base_url)
            client.mount("http+docker://", _OnePool(f"http+{options['base_url']}", _ANSWER_S))
            first.close()
        return client

    def _tunnel_to(self, url: str) -> SshTunnel:
        """Return the way to an Engine over ssh: one for all threads."""
        with self._lock:
            if self._tunnel is None:
                self._tunnel = SshTunnel(url, self._ssh)
            return self._tunnel


def _described(endpoint: str) -> str:
    """Return the endpoint as errors name it: ``local`` alone does not say which socket was tried."""
    host = os.environ.get("DOCKER_HOST")
    return f"local (DOCKER_HOST={host})" if endpoint == "local" and host else endpoint


def _local_endpoint() -> dict[str, Any]:
    """Return what the docker CLI would use: the environment, then its current context."""
    if os.environ.get("DOCKER_HOST"):
        return dict(kwargs_from_env())
    context = ContextAPI.get_current_context()
    if context is None or not context.Host:
        return {}
    return {"base_url": context.Host, "tls": context.TLSConfig or False}
