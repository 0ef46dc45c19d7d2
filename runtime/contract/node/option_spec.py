"""What an option of a decoder is, and what may be wrong with one. Stdlib only, Python 3.8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Tuple


@dataclass(frozen=True)
class OptionSpec:
    """One option. ``low`` and ``high`` bound numbers (inclusive), durations in seconds."""

    name: str
    kind: str
    """number | whole | flag | word | choice | duration | words | numbers | wholes | names (words, or their count)."""
    default: Any = None
    """``None``: it must be given."""
    low: float = 0.0
    high: float = 0.0
    choices: Tuple[str, ...] = ()
    """Of a choice; of words, what each may be."""
    unit: str = ""


@dataclass(frozen=True)
class OptionProblem:
    """What is wrong with the options of one decoder."""

    option: Optional[str]
    """``None``: an option that must be given is not there."""
    message: str
    """Without the option's name: ``is 2``."""
    hint: str
    unknown: bool = False
    """The decoder has no option of this name."""
