"""Answers a registry's 401 with the operator's credentials, by the rules of `runtime.contract.registry`."""

from __future__ import annotations

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.errors import RegistryAuthError
from fleet.ports import Clock
from runtime.contract.registry.authorizer import AuthError, Authorizer, TokenFetch
from runtime.contract.registry.tokens import Scopes

__all__ = ["Authenticator", "Scopes"]


class Authenticator:
    """Knows what to send as ``Authorization`` to one registry. Thread-safe; asks for credentials on the first 401.

    ``root``: the repository prefix whose credentials stand for the registry as a whole.
    """

    def __init__(
        self,
        host: str,
        credentials: DockerCredentials,
        fetch: TokenFetch,
        clock: Clock,
        *,
        plain_realm: bool,
        root: str = "",
    ) -> None:
        self._host = host
        self._docker = credentials
        self._rules = Authorizer(
            host, not plain_realm, lambda repository: credentials.lookup(host, repository), fetch, clock.monotonic, root
        )

    def header(self, scopes: Scopes) -> str:
        """Return the header's value as far as the registry has asked for one; empty for none."""
        try:
            return self._rules.header(scopes)
        except AuthError as error:
            raise self._refused(error, scopes) from error

    def challenged(self, www_authenticate: str, scopes: Scopes, sent: str) -> bool:
        """Take in a 401 of the registry itself. True when another try with :meth:`header` makes sense."""
        try:
            return self._rules.challenged(www_authenticate, scopes, sent)
        except AuthError as error:
            raise self._refused(error, scopes) from error

    def describe(self, scopes: Scopes = ()) -> str:
        """Say which credentials were used, without the secret."""
        schemes = self._rules.unknown_schemes()
        looked_up, found = self._rules.used(scopes)
        if found is not None:
            return str(found)
        if schemes:
            return f"no credentials were sent: the registry asks for {', '.join(schemes)}, not for Basic or Bearer"
        if looked_up:
            return f"no credentials for it in {self._docker.path}"
        return "no credentials were sent: the registry did not name a scheme"

    def _refused(self, error: AuthError, scopes: Scopes) -> RegistryAuthError:
        if error.refused:
            return RegistryAuthError(
                f"{error.message}; {self.describe(scopes)}",
                hint=f"log in with an account that may do this: docker login {self._host}",
            )
        return RegistryAuthError(error.message, hint="look at the registry's auth configuration: its realm is wrong")
