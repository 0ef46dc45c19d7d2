"""What OpenSSH's configuration says of one host, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fleet.adapters.ssh.config.tokens import account_home, at_home, expand, homes, token_names, variables

#: ssh(1) before 9.x prints `yes`, later ones `true`, for the same words in the file.
_YES = ("yes", "true")


@dataclass(frozen=True)
class SshOptions:
    """One host's options. ``values`` holds every line of `ssh -G`: keyword in lower case → its values in order."""

    host: str
    """As it was asked for: an alias, a name, an address."""
    values: Mapping[str, tuple[str, ...]]

    def text(self, keyword: str) -> str:
        """Return the first value; empty for one that is not there or is ``none``."""
        value = next(iter(self.values.get(keyword, ())), "")
        return "" if value.lower() == "none" else value

    def is_on(self, keyword: str, default: bool = False) -> bool:
        """Return a switch."""
        value = self.text(keyword).lower()
        return value in _YES if value else default

    def number(self, keyword: str, default: int = 0) -> int:
        """Return a whole number."""
        value = self.text(keyword)
        return int(value) if value.isdigit() else default

    def names(self, keyword: str) -> list[str]:
        """Return a comma-separated list of algorithms; empty when nothing is said."""
        return [name for name in self.text(keyword).split(",") if name]

    @property
    def hostname(self) -> str:
        """Where to connect to."""
        return self.text("hostname") or self.host

    @property
    def port(self) -> int:
        """TCP port."""
        return self.number("port", 22)

    @property
    def user(self) -> str:
        """Who logs in."""
        return self.text("user")

    @property
    def where(self) -> str:
        """``jetson@10.0.0.11:22``."""
        return f"{self.user}@{self.hostname}:{self.port}"

    @property
    def jumps(self) -> list[str]:
        """``ProxyJump``, the nearest to us first."""
        return [spec.strip() for spec in self.text("proxyjump").split(",") if spec.strip()]

    @property
    def proxy_command(self) -> str:
        """``ProxyCommand`` with its tokens replaced; empty when there is none."""
        return expand(self.text("proxycommand"), self.tokens)

    @property
    def alias(self) -> str:
        """``HostKeyAlias``: under which name its host key is known."""
        return expand(self.text("hostkeyalias"), {**self.tokens, "k": self.host})

    @property
    def identity_files(self) -> list[str]:
        """``IdentityFile``, as written."""
        return [value for value in self.values.get("identityfile", ()) if value.lower() != "none"]

    @property
    def certificate_files(self) -> list[Path]:
        """``CertificateFile``."""
        return [self.path(value) for value in self.values.get("certificatefile", ()) if value.lower() != "none"]

    @property
    def known_hosts(self) -> list[Path]:
        """Files of host keys of the user and of the machine."""
        texts = [*self._files("userknownhostsfile"), *self._files("globalknownhostsfile")]
        paths = [self.path(text) for text in texts if text != "none"]
        account, home = account_home(), next(iter(homes()), None)
        if account is not None and home is not None and home != account:
            # OpenSSH has written its account's home in front already; `$HOME` is where we look first.
            moved = [home / path.relative_to(account) for path in paths if account / ".ssh" in path.parents]
            paths = [*moved, *paths]
        return paths

    def _files(self, keyword: str) -> list[str]:
        return [part for value in self.values.get(keyword, ()) for part in value.split()]

    def path(self, text: str) -> Path:
        """Return a file that the configuration names."""
        return at_home(expand(variables(text), self.tokens))

    @cached_property
    def tokens(self) -> dict[str, str]:
        """What percent tokens stand for."""
        return token_names(
            host=self.host,
            hostname=self.hostname,
            port=self.port,
            user=self.user,
            alias="",
            jump=self.text("proxyjump"),
        )


def parsed(host: str, printed: str) -> SshOptions:
    """Read what `ssh -G` printed."""
    values: dict[str, list[str]] = {}
    for line in printed.splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword and value:
            values.setdefault(keyword.lower(), []).append(value.strip())
    return SshOptions(host, {keyword: tuple(each) for keyword, each in values.items()})
