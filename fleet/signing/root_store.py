"""The fleet's trust roots on disk, beside fleet.yaml: they are reviewed and merged in git as the manifest is.

``root/3.root.json`` is what is signed, ``root/3.<12 hex of the key>.sig`` what one signer's ``ssh-keygen`` made of it:
two signers never change the same file. ``root/updater.json`` with its signatures says which updater robots may get.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import UsageError
from fleet.signing.signatures import key_hex
from runtime.contract.robot.root import MAX_CHAIN, MAX_SIGNATURES
from runtime.contract.robot.trust import Signed

UPDATER = "updater"
_MOST_BYTES = 512 * 1024
_ROOT = re.compile(r"([1-9][0-9]{0,8})\.root\.json")


@dataclass(frozen=True, slots=True)
class RootStore:
    """The folder ``root/`` of one manifest; it need not exist."""

    folder: Path

    def versions(self) -> list[int]:
        """Return the numbers of the roots that are there, ascending. Raises UsageError for a folder out of bounds."""
        if not self.folder.is_dir():
            return []
        names = (_ROOT.fullmatch(path.name) for path in self.folder.iterdir())
        found = sorted(int(name[1]) for name in names if name is not None)
        if len(found) > MAX_CHAIN:
            hint = "remove the oldest: robots that have none of those that are left must be bootstrapped by hand"
            raise UsageError(f"{self.folder} holds {len(found)} roots, {MAX_CHAIN} are looked at", hint=hint)
        return found

    def root(self, version: int) -> Signed:
        """Return a root with its signatures, none of them judged. Raises UsageError."""
        return self._signed(f"{version}.root.json", str(version))

    def updater(self) -> Signed | None:
        """Return the updater's statement with its signatures, none of them judged; None without one."""
        name = f"{UPDATER}.json"
        return self._signed(name, UPDATER) if (self.folder / name).exists() else None

    def put_root(self, version: int, text: str) -> None:
        """Write a root. Signatures of other words under its number are removed. Raises UsageError."""
        self._put(f"{version}.root.json", str(version), text)

    def put_updater(self, text: str) -> None:
        """Write the updater's statement, as :meth:`put_root` does."""
        self._put(f"{UPDATER}.json", UPDATER, text)

    def add_signature(self, stem: str, key: str, signature: str) -> Path:
        """Write one signer's signature. ``stem``: the root's number, or :data:`UPDATER`; ``key``: ``SHA256:…``."""
        path = self.folder / f"{stem}.{key_hex(key)[:12]}.sig"
        self._write(path, signature)
        return path

    def _put(self, name: str, stem: str, text: str) -> None:
        path = self.folder / name
        if path.exists() and self._read(path) == text:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self._signatures(stem):
            old.unlink()
        self._write(path, text)

    def _signed(self, name: str, stem: str) -> Signed:
        paths = self._signatures(stem)
        if len(paths) > MAX_SIGNATURES:
            hint = "leave those of the allowed signers there"
            raise UsageError(f"{self.folder}: {len(paths)} signatures of {name}, {MAX_SIGNATURES} count", hint=hint)
        return Signed(self._read(self.folder / name), tuple(self._read(path) for path in paths))

    def _signatures(self, stem: str) -> Sequence[Path]:
        return sorted(self.folder.glob(f"{stem}.*.sig"))

    def _read(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
            if len(content) <= _MOST_BYTES:
                return content.decode("utf-8")
            why = f"it is larger than {_MOST_BYTES >> 10} KiB"
        except OSError as error:
            why = error.strerror or str(error)
        except UnicodeDecodeError:
            why = "it is not text"
        raise UsageError(f"{path} cannot be read: {why}", hint="take it from git again (git checkout -- root)")

    def _write(self, path: Path, text: str) -> None:
        temporary = path.with_name(path.name + ".tmp")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error.strerror or error}", hint="check the manifest's folder"
            ) from error
