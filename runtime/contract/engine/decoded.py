"""What decoders make of golden frames: asked by a build job, measured by builder and robot, judged like accuracy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple

NOTHING = "nothing"
"""``golden: {expect: nothing}``: golden frames in which a right model finds nothing. It proves no decoder."""


@dataclass(frozen=True)
class OutputDecoder:
    """How one output becomes a result, as the robot's configuration says it."""

    output: str
    """The tensor; of several, their names as :func:`output_name` puts them together."""
    name: str
    """Of a built-in decoder, or ``package:name`` of one that only the robot has."""
    options: Dict[str, Any] = field(default_factory=dict)
    tensors: Dict[str, str] = field(default_factory=dict)
    """Role → tensor, of a decoder that reads several. Empty: it reads ``output``."""

    @property
    def sources(self) -> Tuple[str, ...]:
        """Names of the tensors that it reads, in the order of their roles."""
        return tensors_read(self.output, self.tensors)


def output_name(tensor: str, tensors: Mapping[str, str]) -> str:
    """Return what an output is called: its tensor, or the tensors of all its roles."""
    return ", ".join(tensors_read(tensor, tensors))


def tensors_read(tensor: str, tensors: Mapping[str, str]) -> Tuple[str, ...]:
    """Return the tensors of an output, in the order of their roles' names; a tensor may have two roles."""
    return tuple(tensors[role] for role in sorted(tensors)) if tensors else (tensor,)


def pick(tensor: str, tensors: Mapping[str, str], found: Mapping[str, Any]) -> Any:
    """Return what a decoder is called with: the tensor's values, or role → values."""
    return {role: found[name] for role, name in tensors.items()} if tensors else found[tensor]


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
