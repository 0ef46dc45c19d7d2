"""Pinned host keys in a file of our own, in `known_hosts` format: public keys only, made to be committed to git.

A line that `fleet bootstrap` writes is ``amr-001,10.0.0.11 ssh-ed25519 AAAA…``. A robot is found by its name, so a new
address needs no new key, and another machine at its address is noticed. Lines of other hands count too, as OpenSSH
reads them: by address alone, hashed, `@revoked`, `@cert-authority`. ``ssh -o UserKnownHostsFile=…`` works as well.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleet.adapters.ssh.known_hosts import KnownLine, UnreadableLine, host_name, named, read_line
from fleet.errors import OutsideError
from fleet.ports import RobotAddress

_HEADER = (
    "# Host keys of the robots, pinned by `fleet bootstrap`. Public keys: commit this file.\n"
    "# A changed key is refused until `fleet bootstrap --robots NAME --accept-new-host-key`.\n"
)


class HostKey(Protocol):
    """A public key, ours or paramiko's."""

    def get_name(self) -> str:
        """``ssh-ed25519``."""
        ...

    def get_base64(self) -> str:
        """The key as a known_hosts line holds it."""
        ...


@dataclass(frozen=True)
class _Entry:
    """One line of the file: what it says, or why it cannot be read."""

    text: str
    read: KnownLine | None
    flaw: str = ""

    @property
    def names(self) -> list[str]:
        """Names as they stand there; none in a comment."""
        if self.read is not None:
            return self.read.names.split(",")
        fields = [field for field in self.text.split() if not field.startswith("@")]
        return fields[0].split(",") if self.flaw and fields else []


class HostKeyFile:
    """The file. Written whole and only by :meth:`pin`, which keeps the lines of others. One object for all threads."""

    def __init__(self, path: Path, robots: Collection[str] = ()) -> None:
        """``robots``: every name in the fleet; a line of one is not another's because of its address."""
        self.path = path
        self._robots = frozenset(robots)
        self._lock = threading.Lock()

    def lines(self, robot: RobotAddress, addresses: Sequence[str] = ()) -> list[KnownLine]:
        """Return what the file says of ``robot``: by its name, or else by its address.

        ``addresses``: other names of the host. Raises OutsideError for a file that cannot be read, and for a line that
        cannot be while it is this robot's or may be.
        """
        by_name: list[KnownLine] = []
        by_address: list[KnownLine] = []
        places = [*self._places(robot), *addresses]
        for entry in self._entries():
            if entry.flaw:
                self._refuse_unreadable(entry, robot, places)
            elif entry.read is not None and self._is_own(entry, robot):
                by_name.append(entry.read)
            elif entry.read is not None and self._is_at(entry.read, entry.names, robot, places):
                by_address.append(entry.read)
        marked = [line for line in by_address if line.marker]
        return [*by_name, *marked] if any(not line.marker for line in by_name) else [*by_name, *by_address]

    def pin(self, address: RobotAddress, key: HostKey) -> None:
        """Make ``key`` the one key of this robot. Raises OutsideError when the file cannot be written.

        Other processes that pin at the same time wait for each other.
        """
        line = f"{address.name},{host_name(address.host, address.port)} {key.get_name()} {key.get_base64()}"
        with self._lock, self._alone():
            kept = [entry.text for entry in self._entries() if not self._is_replaced(entry, address)]
            text = (_HEADER if not kept else "") + "".join(f"{each}\n" for each in [*kept, line])
            self._write(text)

    def _entries(self) -> Iterator[_Entry]:
        for number, text in enumerate(self._lines(), start=1):
            yield _entry(text, f"{self.path}:{number}")

    def _places(self, robot: RobotAddress) -> list[str]:
        return [host_name(robot.host, robot.port)]

    def _is_own(self, entry: _Entry, robot: RobotAddress) -> bool:
        """Whether the line has the robot's own name, as it stands or hashed; a pattern is not one robot's."""
        names = entry.read.names if entry.read is not None else ""
        return robot.name in names.split(",") or (names.startswith("|") and named(names, robot.name))

    def _is_at(self, line: KnownLine, names: list[str], robot: RobotAddress, places: Sequence[str]) -> bool:
        """Whether the line is for the robot's address, or a pattern of its name, and not for another robot by name."""
        others = any(name in self._robots and name != robot.name for name in names)
        if not self._robots:  # Then a line in the form that we write is some robot's, by its name.
            others = len(names) == 2 and names[0] not in (robot.name, *places) and names[1] in places
        return not others and line.is_for([robot.name, *places])

    def _is_replaced(self, entry: _Entry, robot: RobotAddress) -> bool:
        """Whether a new key takes the place of the line: it is this robot's alone, by name or by address."""
        if entry.read is None or entry.read.marker:
            return False
        places = self._places(robot)
        only_address = all(name.lower() in places for name in entry.names) or (
            entry.read.names.startswith("|") and entry.read.is_for(places)
        )
        return only_address or self._is_own(entry, robot)

    def _refuse_unreadable(self, entry: _Entry, robot: RobotAddress, places: Sequence[str]) -> None:
        names = entry.names
        anyones = not names or names[0].startswith("|") or "is not a marker" in entry.flaw
        if anyones or robot.name in names or any(place in names for place in places):
            raise OutsideError(
                entry.flaw,
                hint="restore the line from git, or remove it and run fleet bootstrap for that robot",
            )

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

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from writing. The folder is locked: the file itself is replaced by another."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise self._not_written(error) from error
        try:
            with suppress(OSError):  # A file system without locks: the rename alone must do.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, text: str) -> None:
        temporary: Path | None = None
        try:
            descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
            temporary = Path(name)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(file.fileno(), self._mode())
            temporary.replace(self.path)
            temporary = None
        except OSError as error:
            raise self._not_written(error) from error
        finally:
            if temporary is not None:
                with suppress(OSError):
                    temporary.unlink()

    def _mode(self) -> int:
        try:
            return self.path.stat().st_mode & 0o777
        except OSError:
            return 0o644

    def _not_written(self, error: OSError) -> OutsideError:
        return OutsideError(
            f"{self.path}: the host key cannot be written: {error}",
            hint="check the folder's permissions and the disk",
        )


def _entry(text: str, where: str) -> _Entry:
    try:
        return _Entry(text, read_line(text, where))
    except UnreadableLine as error:
        return _Entry(text, None, str(error))
