"""A parser of our own for `~/.ssh/config`, for machines without OpenSSH's client: what it cannot know it refuses."""

from __future__ import annotations

from pathlib import Path

import paramiko

from fleet.adapters.ssh.config.config_files import ConfigFiles, options_in
from fleet.adapters.ssh.config.options import SshOptions
from fleet.adapters.ssh.config.tokens import homes
from fleet.adapters.ssh.keys import DEFAULT_NAMES
from fleet.errors import OutsideError

_INSTALL = "install OpenSSH's client (openssh-client), which reads its own configuration"
_KNOWN_MATCH = {"all", "host", "originalhost", "user", "localuser"}


class BuiltinConfig:
    """Answers for any host. Raises OutsideError for a configuration that needs OpenSSH itself."""

    def __init__(self, files: ConfigFiles) -> None:
        self._config = paramiko.SSHConfig()
        for path, text in files.texts.items():
            _refuse_unknown(path, text)
            try:
                self._config.parse(text.splitlines(keepends=True))
            except (paramiko.SSHException, ValueError) as error:
                raise OutsideError(
                    f"the SSH configuration cannot be read: {path}: {error}", hint=f"correct it, or {_INSTALL}"
                ) from error

    def options(self, host: str, user: str | None, port: int | None) -> SshOptions:
        """Return what the files say of ``host``; user and port that are given come first."""
        try:
            found = self._config.lookup(host)
        except (paramiko.SSHException, ValueError, ImportError) as error:
            raise OutsideError(
                f"the SSH configuration cannot be read: {error}", hint=f"correct it, or {_INSTALL}"
            ) from error
        values = {key: (value if isinstance(value, list) else [value]) for key, value in found.items()}
        if user is not None:
            values["user"] = [user]
        if port is not None:
            values["port"] = [str(port)]
        folder = "~/.ssh" if homes() else "/nonexistent"
        values.setdefault("identityfile", [f"{folder}/{name}" for name in DEFAULT_NAMES])
        values.setdefault("userknownhostsfile", [f"{folder}/known_hosts", f"{folder}/known_hosts2"])
        values.setdefault("globalknownhostsfile", ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"])
        return SshOptions(host, {key: tuple(map(str, each)) for key, each in values.items()})


def _refuse_unknown(path: Path, text: str) -> None:
    """Refuse what paramiko would pass over in silence, or take as matching everything."""
    for keyword, value in options_in(text):
        words = value.replace("=", " ").lower().split()
        wrong = keyword == "match" and not {word.lstrip("!") for word in words[:1]} <= _KNOWN_MATCH
        if keyword == "match" and any(word in ("exec", "final", "canonical", "localnetwork") for word in words):
            wrong = True
        if wrong or keyword == "include":
            raise OutsideError(f"{path}: `{keyword.title()} {value}` needs OpenSSH's client", hint=_INSTALL)
