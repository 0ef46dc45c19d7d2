"""What `ssh -G` answered, kept on disk for as long as no file that it read has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from fleet.adapters.ssh.config.config_files import ConfigFiles

_KEPT = 8
"""States of the configuration of which answers are kept: branches, machines that share a home."""
_OLD_S = 7 * 86400.0
"""Canonical names and addresses of this machine may go into an answer: none is kept for ever."""


def cache_home() -> Path:
    """Return the folder for what can be made again."""
    home = Path(os.environ.get("HOME") or tempfile.gettempdir())
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "jetfleet" / "ssh-config"


class Answers:
    """Answers for one state of the configuration. A cache that cannot be written is none, and no error."""

    def __init__(self, files: ConfigFiles) -> None:
        self.folder = cache_home() / files.fingerprint()
        self._lasting = files.lasting
        self._tidied = False

    def find(self, question: str) -> str | None:
        """Return the answer to this very question, or None."""
        if not self._lasting:
            return None
        path = self._path(question)
        try:
            if time.time() - path.stat().st_mtime > _OLD_S:
                return None
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
        asked, _, answer = text.partition("\n")
        return answer if asked == question and answer.endswith("\n") else None

    def keep(self, question: str, answer: str) -> None:
        """Keep an answer."""
        if not self._lasting:
            return
        path = self._path(question)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_text(f"{question}\n{answer.rstrip()}\n", encoding="utf-8", errors="surrogateescape")
            temporary.replace(path)
            self._tidy()
        except OSError:
            return  # A full disk, a home that is read-only: asked again next time.

    def _path(self, question: str) -> Path:
        return self.folder / hashlib.sha256(question.encode("utf-8", "surrogateescape")).hexdigest()[:40]

    def _tidy(self) -> None:
        """Remove answers of states long gone."""
        if self._tidied:
            return
        self._tidied = True
        states = sorted(self.folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for state in states[_KEPT:]:
            if state != self.folder:
                shutil.rmtree(state, ignore_errors=True)
