"""Pinned host keys in a file of our own, in `known_hosts` format: public keys only, made to be committed to git.

A line is ``amr-001,10.0.0.11 ssh-ed25519 AAAA…``. A robot is found by its name, so a new address needs no new key, and
another machine at its address is noticed. The address is there for people: ``ssh -o UserKnownHostsFile=…`` works too.
"""

from __future__ import annotations

import base64
import binascii
import os
import threading
from contextlib import suppress
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from fleet.errors import OutsideError
from fleet.ports import RobotAddress

_HEADER = (
    "# Host keys of the robots, pinned by `fleet bootstrap`. Public keys: commit this file.\n"
    "# A changed key is refused until `fleet bootstrap --robots NAME --accept-new-host-key`.\n"
)


class HostKeyFile:
    """The file. Written whole (temporary name, rename) and only by :meth:`pin`; lines of others are kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def pinned(self, robot: str) -> paramiko.PKey | None:
        """Return the key pinned for ``robot``, or None. Raises OutsideError for a file that cannot be read."""
        for number, line in enumerate(self._lines(), start=1):
            if _names(line, robot):
                _, kind, text = line.split()[:3]
                return self._key(kind, text, number)
        return None

    def pin(self, address: RobotAddress, key: paramiko.PKey) -> None:
        """Make ``key`` the one key of this robot. Raises OutsideError when the file cannot be written."""
        line = f"{address.name},{_host_name(address)} {key.get_name()} {key.get_base64()}"
        with self._lock:
            kept = [old for old in self._lines() if not _names(old, address.name)]
            text = (_HEADER if not kept else "") + "".join(f"{each}\n" for each in [*kept, line])
            self._write(text)

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise OutsideError(
                f"{self.path}: pinned host keys cannot be read: {error}",
                hint="restore the file from git, or check its permissions",
            ) from error

    def _key(self, kind: str, text: str, number: int) -> paramiko.PKey:
        try:
            return paramiko.PKey.from_type_string(kind, base64.b64decode(text, validate=True))
        except (paramiko.SSHException, UnknownKeyType, binascii.Error, ValueError) as error:
            raise OutsideError(
                f"{self.path}:{number}: not a host key: {error}",
                hint="restore the line from git, or remove it and run fleet bootstrap for that robot",
            ) from error

    def _write(self, text: str) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self.path)
        except OSError as error:
            raise OutsideError(
                f"{self.path}: the host key cannot be written: {error}",
                hint="check the folder's permissions and the disk",
            ) from error
        finally:
            with suppress(OSError):  # Where nothing can be written, there is nothing to remove.
                temporary.unlink()


def _names(line: str, robot: str) -> bool:
    fields = line.split()
    return len(fields) >= 3 and not line.startswith("#") and fields[0].split(",")[0] == robot


def _host_name(address: RobotAddress) -> str:
    return address.host if address.port == 22 else f"[{address.host}]:{address.port}"
