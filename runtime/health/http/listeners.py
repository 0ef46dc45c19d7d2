"""Where the agent answers: always on its own socket, and on the port while it is this container's turn to serve."""

from __future__ import annotations

from collections.abc import Callable

from runtime.health.http.server import HealthServer, Render
from runtime.health.process.serving_token import Token
from runtime.health.settings import AgentSettings


class Listeners:
    """Opens and closes the port as turns change. Used by the agent's one loop."""

    def __init__(
        self, settings: AgentSettings, token: Token, routes: dict[str, Render], log: Callable[[str], None]
    ) -> None:
        """Raises OSError when the port is taken and nobody hands over, so that nobody is to give it back."""
        self._settings, self._token, self._routes, self._log = settings, token, routes, log
        self._said = ""
        self._tcp: HealthServer | None = None
        self._socket = self._own_socket()
        if not token.elsewhere:
            try:
                self._tcp = HealthServer(settings.port, routes)
            except OSError as error:
                if not token.there:
                    raise
                self._say(f"port {settings.port} is not free yet: {error.strerror}")

    @property
    def port(self) -> int:
        """Where HTTP answers, or will when it is our turn."""
        return self._settings.port if self._tcp is None else self._tcp.port

    def start(self) -> None:
        """Begin to answer."""
        for server in (self._socket, self._tcp):
            if server is not None:
                server.start()

    def step(self) -> None:
        """Take the port or give it back, as the token says. The other agent may hold it a moment longer.

        The shared folder may be this user's only later: after a reboot Docker may come before the host's updater.
        """
        if self._socket is None:
            self._socket = self._own_socket()
            if self._socket is not None:
                self._socket.start()
        mine = not self._token.elsewhere
        if not mine and self._tcp is not None:
            self._tcp.close()
            self._tcp = None
            self._say("standing by: the other container has the port")
        elif mine and self._tcp is None:
            try:
                self._tcp = HealthServer(self._settings.port, self._routes)
            except OSError as error:
                self._say(f"port {self._settings.port} is not free yet: {error.strerror}")
                return
            self._tcp.start()
            self._say(f"health on http://127.0.0.1:{self.port}")

    def close(self) -> None:
        """Answer nobody any more."""
        for server in (self._tcp, self._socket):
            if server is not None:
                server.close()
        if self._socket is not None:
            self._settings.own_socket.unlink(missing_ok=True)

    def _own_socket(self) -> HealthServer | None:
        path = self._settings.own_socket
        if not path.parent.is_dir():
            return None  # by hand, without a folder that is shared with a host
        try:
            return HealthServer(path, self._routes)
        except OSError as error:
            self._say(f"cannot listen on {path}: {error.strerror}; is its folder writable for this user?")
            return None

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            self._log(line)
