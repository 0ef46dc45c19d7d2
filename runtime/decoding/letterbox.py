"""Where a frame lands in a tensor when it is resized without changing its proportions."""

from __future__ import annotations

from dataclasses import dataclass

PAD_VALUE = 114.0
"""Of the bars, in the frame's unit (0 to 255): the grey that YOLO-family exports were trained with."""


@dataclass(frozen=True)
class Letterbox:
    """Placement in pixels of the tensor."""

    height: int
    """Rows of the resized frame inside the tensor."""
    width: int
    top: int
    """Rows of bar above it; the bar below has the rest."""
    left: int


def letterbox(frame_height: int, frame_width: int, height: int, width: int, *, top_left: bool = False) -> Letterbox:
    """Return where a frame lands in a tensor of ``height`` x ``width``: as large as fits, centred, or at the top left
    with both bars behind it."""
    scale = min(height / frame_height, width / frame_width)
    rows = max(1, min(height, round(frame_height * scale)))
    columns = max(1, min(width, round(frame_width * scale)))
    if top_left:
        return Letterbox(rows, columns, 0, 0)
    return Letterbox(rows, columns, (height - rows) // 2, (width - columns) // 2)
