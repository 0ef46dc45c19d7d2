"""Keys in an SSH agent: of `IdentityAgent`, or the one that SSH_AUTH_SOCK names."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from paramiko.agent import ALGORITHM_FLAG_MAP, SSH2_AGENT_SIGN_RESPONSE, AgentSSH, cSSH2_AGENTC_SIGN_REQUEST
from paramiko.pkey import PublicBlob

from fleet.adapters.ssh.certificate import CERTIFICATE
from fleet.adapters.ssh.config.options import SshOptions
from fleet.signing.fingerprint import fingerprint

ANSWER_S = 60.0
"""Somebody may have to touch a token or to confirm."""


class AgentRefused(Exception):
    """The agent has the key and does not sign with it."""


@dataclass
class AgentKey:
    """One key in an agent, as paramiko wants to see a key."""

    agent: Agent
    blob: bytes
    comment: str
    public_blob: Any = None
    """A certificate to show for it; the agent signs with the key itself."""

    @property
    def kind(self) -> str:
        """``ssh-ed25519``, also ``sk-ssh-ed25519@openssh.com`` and ``…-cert-v01@openssh.com``."""
        return str(paramiko.Message(self.blob).get_text())

    @property
    def is_certificate(self) -> bool:
        """The agent holds a certificate next to its key, as an identity of its own."""
        return self.kind.endswith(CERTIFICATE)

    @property
    def shown(self) -> str:
        """How a person knows it."""
        words = f"the agent's key {fingerprint(self.blob)}"
        return f"{words} ({self.comment})" if self.comment else words

    def with_certificate(self, certificate: PublicBlob) -> AgentKey:
        """Return the same key with a certificate to show."""
        return AgentKey(self.agent, self.blob, self.comment, certificate)

    def get_name(self) -> str:
        """Name of the key's kind, for paramiko."""
        return self.kind

    def asbytes(self) -> bytes:
        """Public half, for paramiko."""
        return self.blob

    def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> bytes:
        """Return a signature. Raises AgentRefused."""
        return self.agent.sign(self.blob, data, algorithm)


class Agent:
    """An open connection to an agent. Raises OSError, SSHException when it does not speak as one."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWER_S)
        self._agent = AgentSSH()
        try:
            self._socket.connect(str(path))
            self._agent._connect(self._socket)
        except BaseException:
            self._socket.close()
            raise

    @property
    def keys(self) -> list[AgentKey]:
        """Its keys in its order."""
        return [AgentKey(self, bytes(key.blob), str(key.comment)) for key in self._agent.get_keys()]

    def sign(self, blob: bytes, data: bytes, algorithm: str | None) -> bytes:
        """Have ``data`` signed by the key with this public half."""
        message = paramiko.Message()
        message.add_byte(cSSH2_AGENTC_SIGN_REQUEST)
        message.add_string(blob)
        message.add_string(data)
        message.add_int(ALGORITHM_FLAG_MAP.get(algorithm, 0))
        try:
            kind, answer = self._agent._send_message(message)
        except (OSError, paramiko.SSHException) as error:
            raise AgentRefused(f"the agent does not answer: {error}") from error
        if kind != SSH2_AGENT_SIGN_RESPONSE:
            raise AgentRefused("the agent refused to sign")
        return bytes(answer.get_binary())

    def close(self) -> None:
        """Close the connection."""
        self._agent._close()


def agent_path(options: SshOptions) -> tuple[Path | None, str]:
    """Return the agent's socket and how the configuration calls it; None with the reason when there is none."""
    text = next(iter(options.values.get("identityagent", ())), "SSH_AUTH_SOCK")
    if text.lower() == "none":
        return None, "no agent (IdentityAgent none)"
    if text == "SSH_AUTH_SOCK" or text.startswith("$"):
        name = text.strip("${}")
        path = os.environ.get(name, "")
        return (Path(path), f"the agent {path} ({name})") if path else (None, f"no agent ({name} is not set)")
    return options.path(text), f"the agent {options.path(text)} (IdentityAgent)"
