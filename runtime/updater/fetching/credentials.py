"""Who we are at a registry: what `fleet bootstrap` brought, then what `docker login` left for root on this robot."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from runtime.contract.registry.docker_logins import Credentials, DockerLogins, LoginError
from runtime.updater.fetching.errors import Cannot, UpstreamError

HELPER_S = 20.0


class RobotLogins:
    """Looks up who this robot is at one registry, anew each time: a helper's password may have run out."""

    def __init__(self, host: str, *folders: Path) -> None:
        self._host = host
        self._logins = [DockerLogins(folder, HELPER_S) for folder in folders]

    def lookup(self, repository: str) -> Optional[Credentials]:
        """Return the credentials of the first folder that has some; None: nobody.

        Raises Cannot for a configuration that only the docker client may understand, UpstreamError for a helper that
        failed this time.
        """
        for logins in self._logins:
            try:
                found = logins.lookup(self._host, repository)
            except LoginError as error:
                if error.transient:
                    raise UpstreamError(error.message, error.hint, transient=True) from error
                raise Cannot(error.message) from error
            if found is not None:
                return found
        return None
