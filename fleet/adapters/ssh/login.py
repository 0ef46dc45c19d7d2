"""Logging in: one key after the other, and in the end what was tried and what the server said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paramiko

from fleet.adapters.ssh.agent import ANSWER_S, AgentRefused
from fleet.adapters.ssh.config.options import SshOptions
from fleet.adapters.ssh.keys import Candidate, KeyRing
from fleet.adapters.ssh.transport import Answer, LinkTransport

_BANNER = 200


@dataclass
class LoginRefused(Exception):
    """Nothing let us in; it is ours to correct, so never a robot that is offline."""

    words: str
    hint: str

    def __str__(self) -> str:
        return self.words


def log_in(transport: LinkTransport, options: SshOptions, ring: KeyRing) -> None:
    """Log in. Raises LoginRefused; EOFError and SSHException when the link broke."""
    tried: list[str] = []
    last = Answer()
    try:
        transport.ensure_session()
        for candidate in ring.candidates():
            tried.append(candidate.shown)
            last = _try(transport, options.user, candidate, ring)
            if last.accepted:
                return
            if last.ways and "publickey" not in last.ways:
                break
        if not tried:
            last = transport.auth_handler.none(options.user)
            if last.accepted:
                return
    except (EOFError, OSError, paramiko.SSHException) as error:
        if not transport.said:
            raise
        # The server ended it with words of its own ("Too many authentication failures").
        raise _refused(transport, options, tried, ring, last) from error
    finally:
        ring.close()
    raise _refused(transport, options, tried, ring, last)


def _try(transport: LinkTransport, user: str, candidate: Candidate, ring: KeyRing) -> Answer:
    auth: Any = transport.auth_handler
    if candidate.ask_first:
        transport.auth_timeout = max(transport.auth_timeout, ANSWER_S)
        answer: Answer = auth.wants(user, candidate.key)
        if not answer.wanted:
            return answer
    try:
        answered: Answer = auth.sign(user, candidate.key)
        return answered
    except AgentRefused as error:
        ring.notes.append(f"{candidate.shown}: {error}")
        return Answer()
    except paramiko.AuthenticationException as error:  # an RSA key, and a server that takes no SHA-2
        ring.notes.append(f"{candidate.shown}: {error}")
        return Answer()


def _refused(
    transport: LinkTransport, options: SshOptions, tried: Sequence[str], ring: KeyRing, last: Answer
) -> LoginRefused:
    notes = [note for note in dict.fromkeys(ring.notes) if not (tried and note.endswith("/id_…"))]
    words = [f"tried {', '.join(tried)}" if tried else "no key to try", *notes]
    if transport.said:
        words.append(f"it said: {_clean(transport.said)}")
    elif last.partial:
        words.append(f"it took the key and wants {' or '.join(last.ways)} too")
    elif last.ways:
        words.append(f"it said: permission denied, remaining methods: {', '.join(last.ways)}")
    banner = transport.get_banner()
    if banner:
        words.append(f"its banner: {_clean(banner.decode('utf-8', 'replace'))}")
    return LoginRefused(f"refused the login ({'; '.join(words)})", _hint(transport, options, tried, ring, last))


def _hint(transport: LinkTransport, options: SshOptions, tried: Sequence[str], ring: KeyRing, last: Answer) -> str:
    if "too many" in transport.said.lower():
        return (
            "the server counts every key as an attempt: name the right one with identity_file in the manifest, or with "
            "IdentityFile and IdentitiesOnly yes in ~/.ssh/config"
        )
    if last.partial or (last.ways and "publickey" not in last.ways):
        return f"allow {options.user} to log in with a key alone: fleet types no passwords"
    if ring.locked:
        return f"unlock it: ssh-add {ring.locked[0]}"
    if not tried:
        return "make a key (ssh-keygen), start an agent (ssh-add), or set identity_file in the manifest"
    return "put your public key into its ~/.ssh/authorized_keys, or set user and identity_file in the manifest"


def _clean(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(shown.split())[:_BANNER]
