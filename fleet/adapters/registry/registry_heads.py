"""Where a registry's answers to HEAD can be believed: some answer 404 or 405 to HEAD for what GET gives."""

from __future__ import annotations

import threading


class Heads:
    """What was learnt of HEAD so far, by kind of address (``manifests``, ``blobs``). Thread-safe.

    A HEAD that found something shows that HEAD works: from then on its 404 is believed. Until then, a GET decides; once
    a GET found what HEAD had not, HEAD is not asked any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._works: set[str] = set()
        self._fails: set[str] = set()

    def asked(self, kind: str) -> bool:
        """Say whether HEAD is worth a request."""
        with self._lock:
            return kind not in self._fails

    def believed(self, kind: str) -> bool:
        """Say whether a 404 to HEAD means that it is not there."""
        with self._lock:
            return kind in self._works

    def found(self, kind: str) -> None:
        """Note that HEAD found something."""
        with self._lock:
            self._works.add(kind)

    def contradicted(self, kind: str) -> None:
        """Note that GET gave what HEAD had not."""
        with self._lock:
            self._works.discard(kind)
            self._fails.add(kind)
