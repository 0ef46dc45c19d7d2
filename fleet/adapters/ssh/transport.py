"""paramiko's transport, with what OpenSSH tells its user and paramiko does not: why a server closed the connection, the
certificate that it showed, which ways to log in are left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import cMSG_SERVICE_REQUEST, cMSG_USERAUTH_REQUEST
from paramiko.transport import ServiceRequestingTransport

from fleet.adapters.ssh.certificate import CERTIFICATE

_RSA = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True)
class Answer:
    """What a server said to one way of logging in."""

    accepted: bool = False
    """Logged in."""
    wanted: bool = False
    """It would take this key: now sign."""
    partial: bool = False
    """Right, and something else is needed too."""
    ways: tuple[str, ...] = ()
    """What may go on: ``publickey``, ``password``, …"""


class LinkTransport(ServiceRequestingTransport):  # type: ignore[misc]
    """One connection. ``start`` it, judge ``shown``, then ask ``auth``."""

    def __init__(self, sock: Any, *, kinds: Sequence[str], certificates: bool, deadline_s: float) -> None:
        """``kinds``: algorithms of host keys, the best first. ``certificates``: ask for one first."""
        self._kinds = tuple(kinds)
        self._certificates = certificates
        self._accepted = threading.Event()
        self.shown = b""
        """The server's public key, or its certificate, as it was sent; the exchange proved that it has the key."""
        self.said = ""
        """The server's words when it closed the connection."""
        super().__init__(sock)
        self.banner_timeout = self.auth_timeout = self.handshake_timeout = self.channel_timeout = deadline_s

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Host key algorithms to offer; certificates only where an authority is known."""
        known = [kind for kind in self._kinds if kind in self._key_info]
        return tuple([kind + CERTIFICATE for kind in known] if self._certificates else []) + tuple(known)

    def negotiate(self, deadline_s: float) -> None:
        """Exchange keys. Raises what paramiko raises."""
        self.start_client(timeout=deadline_s)
        if not self.initial_kex_done:
            raise paramiko.SSHException(f"no SSH banner and key exchange within {deadline_s:g} s")

    def ensure_session(self) -> None:
        """Ask for the login service, once."""
        if self._accepted.is_set():
            return
        message = paramiko.Message()
        message.add_byte(cMSG_SERVICE_REQUEST)
        message.add_string("ssh-userauth")
        self._send_message(message)
        ends = time.monotonic() + self.auth_timeout
        while not self._accepted.wait(0.1):
            if not self.is_active():
                raise self.get_exception() or EOFError()
            if time.monotonic() > ends:
                raise TimeoutError("the server did not offer user authentication")
        self.auth_handler = LinkAuth(self)

    def _parse_service_accept(self, message: Any) -> None:
        if message.get_text() == "ssh-userauth":
            self._accepted.set()

    def _parse_disconnect(self, message: Any) -> None:
        message.get_int()
        self.said = message.get_binary().decode("utf-8", "replace")

    def _verify_key(self, host_key: bytes, signature: bytes) -> None:
        super()._verify_key(host_key, signature)
        self.shown = host_key


class LinkAuth(AuthOnlyHandler):  # type: ignore[misc]
    """Asks a server, and returns its answers instead of exceptions. A key may be asked about before it signs."""

    _answer = Answer()

    def none(self, user: str) -> Answer:
        """Ask which ways there are; some servers let in without any."""
        return self._request(user, "none", lambda _message: None)

    def wants(self, user: str, key: Any) -> Answer:
        """Ask whether ``key`` would do, without a signature: nobody touches a token for a key that is not wanted."""
        algorithm, bits = self._of(key)

        def finish(message: Any) -> None:
            message.add_boolean(False)
            message.add_string(algorithm)
            message.add_string(bits)

        return self._request(user, "publickey", finish)

    def sign(self, user: str, key: Any) -> Answer:
        """Log in with ``key``. Raises what the key's signing raises."""
        algorithm, bits = self._of(key)
        signature = key.sign_ssh_data(self._get_session_blob(key, "ssh-connection", user, algorithm), algorithm)

        def finish(message: Any) -> None:
            message.add_boolean(True)
            message.add_string(algorithm)
            message.add_string(bits)
            message.add_string(signature)

        return self._request(user, "publickey", finish)

    def _of(self, key: Any) -> tuple[str, Any]:
        kind, bits = self._get_key_type_and_bits(key)
        return str(self._finalize_pubkey_algorithm(kind)), bits

    def _request(self, user: str, method: str, finish: Callable[[Any], None]) -> Answer:
        """Send one request and wait for its answer. Raises EOFError when the server closed the connection."""
        self.auth_method, self.username = method, user
        self._answer = Answer()
        self.auth_event = threading.Event()
        message = paramiko.Message()
        message.add_byte(cMSG_USERAUTH_REQUEST)
        for text in (user, "ssh-connection", method):
            message.add_string(text)
        finish(message)
        with self.transport.lock:
            self.transport._send_message(message)
        ends = time.monotonic() + self.transport.auth_timeout
        while not self.auth_event.wait(0.1):
            if time.monotonic() > ends:
                raise TimeoutError("no answer to the login")
        if self.is_authenticated():
            return Answer(accepted=True)
        if not self.transport.is_active():
            raise self.transport.get_exception() or EOFError()
        return self._answer

    def _parse_userauth_failure(self, message: Any) -> None:
        ways = tuple(message.get_list())
        self._answer = Answer(partial=message.get_boolean(), ways=ways)
        self.authenticated = False
        self.auth_event.set()

    def _parse_userauth_info_request(self, message: Any) -> None:  # noqa: ARG002  (the same number as PK_OK)
        self._answer = Answer(wanted=True, ways=("publickey",))
        self.auth_event.set()


def host_key_kinds(known: Sequence[str], configured: Sequence[str], ours: Sequence[str]) -> list[str]:
    """Return algorithms in the order to offer: those of keys that are known first, as OpenSSH orders them."""
    allowed = [each for each in ours if not configured or {each, each + CERTIFICATE} & set(configured)]
    first = [each for kind in known for each in (_RSA if kind == "ssh-rsa" else (kind,)) if each in allowed]
    return list(dict.fromkeys([*first, *allowed]))
