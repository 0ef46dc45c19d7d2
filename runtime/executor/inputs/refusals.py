"""Says in the log that messages are refused, and why; not once a message."""

from __future__ import annotations

from collections.abc import Callable

EVERY_S = 10.0
"""Between two lines about the same topic and reason."""


class Refusals:
    """One line for the first refusal of a kind on a topic, then one every ``EVERY_S`` with how many there were."""

    def __init__(self, say: Callable[[str], object], now_s: Callable[[], float]) -> None:
        self._say, self._now_s = say, now_s
        self._said: dict[tuple[str, str], tuple[float, int]] = {}
        """Topic and kind → when it was said last, and how many refusals were not said since."""

    def __call__(self, topic: str, kind: str, reason: str) -> None:
        """Note one refusal. Topics and kinds are few, so is what is remembered."""
        now = self._now_s()
        last, silent = self._said.get((topic, kind), (None, 0))
        if last is not None and 0.0 <= now - last < EVERY_S:
            self._said[topic, kind] = (last, silent + 1)
            return
        more = f" ({silent + 1} since the last line like this)" if silent else ""
        self._say(f"{topic}: refused ({kind}): {reason}{more}")
        self._said[topic, kind] = (now, 0)
