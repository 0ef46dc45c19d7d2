"""A decoder's options from the configuration, checked once, when the node is configured.

The options of built-in decoders are a table (`runtime/contract/node/decoders.py`), so that the manifest's check and the
runtime agree. A decoder of somebody's own takes its options one by one with ``Options``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.contract.node.decoders import OptionError

__all__ = ["OptionError", "Options"]


class Options:
    """Takes options one by one; ``finish`` refuses those nobody took."""

    def __init__(self, decoder: str, values: Mapping[str, Any]) -> None:
        self._decoder, self._left = decoder, dict(values)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``. Raises OptionError."""
        value = self._left.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise OptionError(f"{self._decoder}.{name} is {value!r}: give a number from {low:g} to {high:g}")
        return float(value)

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``. Raises OptionError."""
        value = self.number(name, default, low, high)
        if value != int(value):
            raise OptionError(f"{self._decoder}.{name} is {value:g}: give a whole number")
        return int(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false. Raises OptionError."""
        value = self._left.pop(name, default)
        if not isinstance(value, bool):
            raise OptionError(f"{self._decoder}.{name} is {value!r}: give true or false")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """Return a list of strings, empty when absent. Raises OptionError."""
        value = self._left.pop(name, ())
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise OptionError(f"{self._decoder}.{name} is {value!r}: give a list of strings")
        return tuple(value)

    def word(self, name: str, default: str) -> str:
        """Return a string. Raises OptionError."""
        value = self._left.pop(name, default)
        if not isinstance(value, str):
            raise OptionError(f"{self._decoder}.{name} is {value!r}: give a string")
        return value

    def finish(self) -> None:
        """Raise OptionError when options are left that this decoder does not have."""
        if self._left:
            raise OptionError(f"{self._decoder} has no option {', '.join(sorted(map(repr, self._left)))}")
