"""Runs the hub: sockets, TLS, the time that a request's head may take, and what is done now and then."""

from __future__ import annotations

import dataclasses
import signal
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fleet.errors import FleetError, OutsideError, UsageError
from fleet.hub.app import Hub

_MOST_HEAD = 16 * 1024
_MAINTAIN_S = 30.0
_GRACE_S = 10


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the hub listens, and how."""

    host: str
    port: int
    """0: any that is free."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    proxies: str = ""
    """Addresses whose ``X-Forwarded-For`` is believed, with commas between."""

    @property
    def url(self) -> str:
        """``https://host:port``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"


def listen_at(text: str, tls_cert: Path | None = None, tls_key: Path | None = None, proxies: str = "") -> Listen:
    """Read ``HOST:PORT`` or ``[IPv6]:PORT``. Raises UsageError, also for TLS files that do not fit together."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise UsageError(f"{text} is no address to listen at", hint="write HOST:PORT, such as 0.0.0.0:8443")
    if (tls_cert is None) != (tls_key is None):
        raise UsageError("TLS needs a certificate and its key", hint="give both --tls-cert and --tls-key, or neither")
    if tls_cert is not None:
        _check_tls(tls_cert, tls_key)
    return Listen(host.strip("[]"), int(port), tls_cert, tls_key, proxies)


def _check_tls(cert: Path, key: Path | None) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"{cert} and {key} are no certificate with its key: {error}", hint="give PEM files; the chain goes with it"
        ) from error


def _protocol(header_s: float) -> type[H11Protocol]:
    """Return uvicorn's HTTP/1.1 with one rule more: who sends no request's head in time is let go."""

    class BoundedHead(H11Protocol):
        _timer: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _watch(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(header_s, self._late)

        def _late(self) -> None:
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                self.transport.close()

    return BoundedHead


class HubServer(uvicorn.Server):
    """A hub with its sockets. ``run()`` serves until SIGTERM or Ctrl-C, or until ``should_exit`` is set."""

    def __init__(self, hub: Hub, listen: Listen, on_listening: Callable[[Listen], None]) -> None:
        """``on_listening`` is told once where it listens."""
        super().__init__(_config(hub, listen))
        self._hub, self._listen, self._on_listening = hub, listen, on_listening
        self._over = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        """Begin to listen, and to look after pins and old reports."""
        await super().startup(sockets)
        if self.started:
            port = int(self.servers[0].sockets[0].getsockname()[1])
            threading.Thread(target=_maintain, args=(self._hub, self._over), name="hub-maintain", daemon=True).start()
            self._on_listening(dataclasses.replace(self._listen, port=port))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (its interface)
        """End in order: a hub that was asked to end has done what it should. A second Ctrl-C waits for nobody."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        """Let requests under way end, then go."""
        self._over.set()
        await super().shutdown(sockets)


def _config(hub: Hub, listen: Listen) -> uvicorn.Config:
    return uvicorn.Config(
        hub.application(),
        host=listen.host,
        port=listen.port,
        http=_protocol(hub.limits.header_s),
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=hub.limits.connections,
        h11_max_incomplete_event_size=_MOST_HEAD,
        timeout_keep_alive=max(1, int(hub.limits.header_s)),
        timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=listen.tls_cert,
        ssl_keyfile=listen.tls_key,
        proxy_headers=bool(listen.proxies),
        forwarded_allow_ips=listen.proxies or None,
    )


def serve(hub: Hub, listen: Listen, on_listening: Callable[[Listen], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises OutsideError when the address cannot be had."""
    server = HubServer(hub, listen, on_listening)
    try:
        server.run()
    except SystemExit as error:  # uvicorn leaves so when it cannot bind; it has logged why
        raise _not_bound(listen) from error
    if not server.started:
        raise _not_bound(listen)


def _not_bound(listen: Listen) -> OutsideError:
    return OutsideError(
        f"the hub cannot listen at {listen.host}:{listen.port}", hint="the line above says why; name another --listen"
    )


def _maintain(hub: Hub, over: threading.Event) -> None:
    """Do what is due, every half minute; what fails is said and tried again."""
    while True:
        try:
            hub.maintain()
        except FleetError as error:
            hub.say(f"{error.message} → {error.hint}")
        if over.wait(_MAINTAIN_S):
            return
