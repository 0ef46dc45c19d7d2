"""Credentials the way Docker keeps them, of the operator's machine: `runtime.contract.registry.docker_logins`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fleet.errors import RegistryAuthError
from runtime.contract.registry.docker_logins import HELPER_TIMEOUT_S, Credentials, DockerLogins, LoginError

__all__ = ["Credentials", "DockerCredentials"]


class DockerCredentials:
    """Looks credentials up in Docker's configuration folder. Raises RegistryAuthError for a broken one."""

    def __init__(self, config_dir: Path, *, helper_timeout_s: float = HELPER_TIMEOUT_S) -> None:
        self._logins = DockerLogins(config_dir, helper_timeout_s)
        self.path = self._logins.path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> DockerCredentials:
        """Take DOCKER_CONFIG, otherwise ``~/.docker``."""
        configured = (os.environ if environ is None else environ).get("DOCKER_CONFIG")
        return cls(Path(configured) if configured else Path.home() / ".docker")

    def lookup(self, host: str, repository: str = "") -> Credentials | None:
        """Return the credentials for a repository of a registry, read again; None: nobody."""
        try:
            return self._logins.lookup(host, repository)
        except LoginError as error:
            raise RegistryAuthError(error.message, hint=error.hint) from error
