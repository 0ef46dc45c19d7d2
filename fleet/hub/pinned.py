"""The host keys that belong to the fleet, as far as the hub knows them: read again now and then, from file or registry.

They decide what is shown first and what is kept, never what is believed: readers hold every report against pins that
they judged themselves.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fleet.errors import FleetError, UsageError
from fleet.ports import Clock, LogLine
from fleet.signing.ssh_signature import BadSignature, read_key
from runtime.contract.codec import ContractError, from_json
from runtime.contract.json_decoder import Limits, decode
from runtime.contract.robot.desired import Pins
from runtime.contract.robot.trust import PINS, Signed

ReadPins = Callable[[], Pins | None]
"""Returns the fleet's pins, None where there are none yet. Raises FleetError."""
AGAIN_S = 60.0
#: Ten thousand robots with RSA keys are some 8 MB.
_LIMITS = Limits(size=16 * 1024 * 1024, depth=8, values=400000, text=16 * 1024 * 1024)


@dataclass(frozen=True)
class PinnedKeys:
    """Pins, asked by robot."""

    pins: Pins

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Robot → ``SHA256:…``; a key that is none is left out, so its robot waits."""
        found = {name: _fingerprint(key) for name, key in self.pins.robots.items()}
        return {name: fingerprint for name, fingerprint in found.items() if fingerprint}

    @cached_property
    def names(self) -> list[str]:
        """Robots that are pinned and not retired, sorted."""
        return sorted(set(self.pins.robots) - set(self.pins.retired))

    @cached_property
    def _retired(self) -> frozenset[str]:
        return frozenset(self.pins.retired)

    def fingerprint(self, robot: str) -> str:
        """Return the fingerprint of the robot's key; empty when it has none."""
        return self.fingerprints.get(robot, "")

    def retired(self, robot: str) -> bool:
        """Say whether the robot's reports count no more."""
        return robot in self._retired

    def after(self, name: str, limit: int) -> list[str]:
        """Return the next names in order."""
        at = bisect_right(self.names, name)
        return self.names[at : at + limit]


def _fingerprint(key: str) -> str:
    try:
        return read_key(key).fingerprint
    except BadSignature:
        return ""


class KnownPins:
    """Pins that are read again when they are a minute old; what was known stays when that fails, and is said once."""

    def __init__(self, read: ReadPins | None, clock: Clock, say: LogLine, again_s: float = AGAIN_S) -> None:
        """``read``: None where the hub is given no pins at all."""
        self._read, self._clock, self._say, self._again_s = read, clock, say, again_s
        self._lock = threading.Lock()
        self._known: PinnedKeys | None = None
        self._read_at: float | None = None
        self.problem = ""
        """Why they could not be read last; empty when they could."""

    def now(self) -> PinnedKeys | None:
        """Return the pins; None where none are known."""
        return self._known

    def refresh(self) -> None:
        """Read them again when they are old. For one thread at a time; others go on with what is known."""
        if self._read is None or not self._lock.acquire(blocking=False):
            return
        try:
            if self._read_at is not None and self._clock.monotonic() - self._read_at < self._again_s:
                return
            self._read_at = self._clock.monotonic()
            found = self._read()
            if found is None or (self._known is not None and found == self._known.pins):
                self._note("")
            elif self._known is not None and found.generation < self._known.pins.generation:
                self._note(f"generation {found.generation} is older than {self._known.pins.generation}")
            else:
                self._known = PinnedKeys(found)
                self._note("")
        except FleetError as error:
            self._note(error.message)
        finally:
            self._lock.release()

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            self._say(f"pins could not be read, and those that are known stay: {problem}")
        self.problem = problem


def pins_of_file(path: Path) -> ReadPins:
    """Return what reads pins from a file: the signed document, as it is in the registry, or the words alone."""

    def read() -> Pins:
        try:
            content = path.read_bytes()
            found = decode(content, "Pins", _LIMITS)
            if isinstance(found, dict) and "statement" in found:
                content = from_json(Signed, content, _LIMITS).statement.encode()
            pins = from_json(Pins, content, _LIMITS)
        except (OSError, ContractError) as error:
            raise UsageError(f"{path} holds no pins: {error}", hint="write them with fleet enroll") from error
        if pins.kind != PINS:
            raise UsageError(f"{path} holds no pins: it is a {pins.kind[:40]}", hint="write them with fleet enroll")
        return pins

    return read
