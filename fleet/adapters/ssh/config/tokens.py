"""Home folders, variables and percent tokens in values of ssh_config(5), which `ssh -G` mostly prints as written."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_TOKEN = re.compile(r"%(.)")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


@cache
def account_home() -> Path | None:
    """Return the home folder of this account, which is where OpenSSH looks; None for an account without an entry."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


@cache
def local_user() -> str:
    """Return the name of this account."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return os.environ.get("USER", str(os.getuid()))


def homes() -> list[Path]:
    """Return ``$HOME``, where every other program looks, and the account's home when that is another folder."""
    found = [Path(os.environ["HOME"])] if os.environ.get("HOME") else []
    account = account_home()
    if account is not None and account not in found:
        found.append(account)
    return found


def at_home(text: str) -> Path:
    """Return ``~/…`` in the home that has such a file, in the first one when none has. ``~user/…`` works too."""
    if text == "~" or text.startswith("~/"):
        places = [home / text[2:] for home in homes()]
        return next((place for place in places if place.exists()), places[0] if places else Path(text))
    try:
        return Path(text).expanduser()
    except RuntimeError:  # No such user: taken as written, and then not found under this name.
        return Path(text)


def variables(text: str) -> str:
    """Replace ``${NAME}``; one that is not set stays as it is, so that the error names it."""
    return _VARIABLE.sub(lambda found: os.environ.get(found[1], found[0]), text)


def expand(text: str, names: Mapping[str, str]) -> str:
    """Replace percent tokens; ``%%`` is ``%``, an unknown one stays as it is."""
    known = {**names, "%": "%"}
    return _TOKEN.sub(lambda found: known.get(found[1], found[0]), text)


def token_names(*, host: str, hostname: str, port: int, user: str, alias: str, jump: str) -> dict[str, str]:
    """Return what each percent token stands for; TOKENS in ssh_config(5)."""
    local = socket.gethostname()
    account = account_home()
    mixed = hashlib.sha1(f"{local}{hostname}{port}{user}{jump}".encode(), usedforsecurity=False)
    return {
        "h": hostname,
        "n": host,
        "p": str(port),
        "r": user,
        "u": local_user(),
        "d": str(account or os.environ.get("HOME", "")),
        "i": str(os.getuid()),
        "l": local,
        "L": local.split(".")[0],
        "k": alias or host,
        "j": jump,
        "C": mixed.hexdigest(),
        "T": "NONE",
    }
