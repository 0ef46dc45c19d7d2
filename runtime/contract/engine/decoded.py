"""What decoders make of golden frames: asked by a build job, measured by builder and robot, judged like accuracy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional

NOTHING = "nothing"
"""``golden: {expect: nothing}``: golden frames in which a right model finds nothing. It proves no decoder."""


@dataclass(frozen=True)
class OutputDecoder:
    """How one output becomes a result, as the robot's configuration says it."""

    output: str
    name: str
    """Of a built-in decoder, or ``package:name`` of one that only the robot has."""
    options: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DecodedOutput:
    """What one decoder found in all golden frames together."""

    output: str
    decoder: str
    frames: int
    said: str
    """For a person: how many, which classes, best score, ranges."""
    found: Optional[int] = None
    """Boxes, texts, or pixels of a mask that are not background. None: a decoder that looks for nothing."""
    empty_frames: int = 0
    """Frames in which it found nothing."""
    agreement: Optional[float] = None
    """With what the decoder makes of the reference's answers, 0 to 1. None: a decoder whose results are numbers, which
    relative error judges."""
