"""How many of its frames a model looks at: all, a share of them, or none. Told by the agent, once a second."""

from __future__ import annotations


class Duty:
    """Set by one thread, asked by the worker. A share is spread evenly: at 25 % every fourth frame is taken."""

    def __init__(self) -> None:
        self._rate = 1.0
        self._credit = 0.0
        self.refused = ""
        """Why no frame is looked at; empty when some are."""

    def set(self, rate: float, refused: str = "") -> None:
        """From now on take ``rate`` of the frames (more than 0, at most 1), or none, for the reason ``refused``."""
        self._rate, self.refused = min(1.0, max(0.0, rate)), refused

    def take(self) -> bool:
        """Say whether to look at the frame at hand."""
        if self.refused:
            return False
        if self._rate >= 1.0:
            return True
        self._credit += self._rate
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True
