"""The files that OpenSSH reads for its configuration: which they are, and whether anything in them has changed."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shlex
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fleet.adapters.ssh.config.tokens import account_home, homes, variables

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_DEEPEST = 16
"""Of files that include one another; OpenSSH's own limit."""
_OPTION = re.compile(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*)")
_CHANGING = re.compile(r"\b(exec|localnetwork)\b", re.IGNORECASE)


@dataclass
class ConfigFiles:
    """Every file that may have a say, in the order of their reading."""

    explicit: Path | None
    """Instead of the user's and the system's own (``ssh -F``)."""
    user: Path | None = None
    """The user's own, where there is one."""
    texts: dict[Path, str] = field(default_factory=dict)
    lasting: bool = True
    """False: an answer may differ although no file did (`Match exec`, `Match localnetwork`, canonical names)."""
    _seen: list[str] = field(default_factory=list)

    @property
    def elsewhere(self) -> bool:
        """The user's configuration lies in a ``$HOME`` which is not the account's home, where OpenSSH looks."""
        account = account_home()
        return self.explicit is None and self.user is not None and (account is None or account not in self.user.parents)

    def fingerprint(self) -> str:
        """Return hex that changes with any of the files, with the `ssh` program and with this account."""
        program = shutil.which("ssh") or ""
        told = [program, _stamp(Path(program)), str(os.getuid()), socket.gethostname(), *map(str, homes())]
        return hashlib.sha256("\0".join([*told, *self._seen]).encode()).hexdigest()[:32]

    def look(self, path: Path, base: Path, depth: int = 0) -> None:
        """Read a file and those that it includes; ``base`` is where their relative names begin."""
        self._seen.append(f"{path} {_stamp(path)}")
        if path in self.texts or depth > _DEEPEST:
            return
        try:
            text = path.read_bytes().decode("utf-8", "surrogateescape")
        except OSError:
            return  # Not there, or not ours to read: OpenSSH says so when it minds.
        self.texts[path] = text
        self._seen.append(hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest())
        for keyword, value in options_in(text):
            if keyword == "match" and _CHANGING.search(value):
                self.lasting = False
            if keyword == "canonicalizehostname" and value.lower() not in ("no", "false"):
                self.lasting = False
            if "${" in value:
                self._seen.append(variables(value))
            if keyword == "include":
                for included in self.included(value, base):
                    self.look(included, base, depth + 1)

    def included(self, value: str, base: Path) -> list[Path]:
        """Return the files that an Include names now, and remember which they are: a new one changes the answer."""
        found: list[Path] = []
        for word in _words(value):
            text = variables(word)
            for home in homes()[:1] if text.startswith("~/") else []:
                text = str(home / text[2:])
            found += map(Path, sorted(glob.glob(str(base / text))))  # noqa: PTH207  (OpenSSH's own rules are glob's)
        self._seen.append(" ".join(map(str, found)))
        return found


def config_files(explicit: Path | None) -> ConfigFiles:
    """Look at the files there are. Never raises: what is wrong in them is OpenSSH's to say."""
    files = ConfigFiles(explicit)
    if explicit is not None:
        files.look(explicit, (account_home() or Path("/")) / ".ssh")
        return files
    own = [home / ".ssh" / "config" for home in homes()]
    files.user = next((path for path in own if path.exists()), None)
    for path in own:
        if files.user is None or path == files.user:
            files.look(path, path.parent)
    files.look(SYSTEM_CONFIG, SYSTEM_CONFIG.parent)
    return files


def options_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield keyword (lower case) and value of every line that has both."""
    for line in text.splitlines():
        found = _OPTION.fullmatch(line)
        if found is not None:
            yield found[1].lower(), found[2].strip()


def moved(files: ConfigFiles, folder: Path) -> Path:
    """Copy a configuration that lies in another home into ``folder``, so that `ssh -F` reads it as if it lay at home.

    Only what an Include names changes, as OpenSSH would look for it in the account's home. Returns what to read.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copies: dict[Path, Path] = {}

    def copy(path: Path, base: Path, depth: int) -> Path:
        if path in copies or depth > _DEEPEST:
            return copies.get(path, path)
        target = copies[path] = folder / f"config-{len(copies)}"
        lines: list[str] = []
        for line in files.texts.get(path, "").splitlines():
            found = _OPTION.fullmatch(line)
            if found is None or found[1].lower() != "include":
                lines.append(line)
                continue
            inside = [copy(each, base, depth + 1) for each in files.included(found[2], base)]
            lines.append("Include " + " ".join(f'"{each}"' for each in inside) if inside else "#")
        _write(target, "\n".join(lines) + "\n")
        return target

    assert files.user is not None
    own = copy(files.user, files.user.parent, 0)
    first = folder / "config"
    _write(first, f'Include "{own}"\n' + (f"Include {SYSTEM_CONFIG}\n" if SYSTEM_CONFIG.exists() else ""))
    return first


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
    temporary.replace(path)


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value, comments=True)
    except ValueError:
        return value.split()


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "-"
    return f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"
