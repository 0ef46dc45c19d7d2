"""TensorRT's log, reduced to what a person who waits for a build wants: stages, warnings, and the errors for later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.engines.backend import Progress

if TYPE_CHECKING:
    import tensorrt as trt

_MOST_ERRORS = 20
#: Beginnings of INFO lines that mark a stage; all other INFO lines are about memory and options.
_STAGES = (
    "Local timing cache",
    "Global timing cache",
    "Using timing cache",
    "Graph optimization time",
    "Starting Calibration",
    "Post Processing Calibration",
    "Calibration completed",
    "Calibrated batch",
    "Detected ",
    "Engine generation completed",
    "Some tactics do not have sufficient workspace",
)
#: Said once at most: TensorRT repeats them for every layer.
_MOST_SAME = 1


class LogKeeper:
    """Collects errors and passes on stages. The part of the logger that does not need TensorRT."""

    def __init__(self, progress: Progress) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._progress = progress
        self._said: dict[str, int] = {}

    def error(self, text: str) -> None:
        """Keep an error, and show it."""
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(text)
        self._progress(f"TensorRT error: {text}")

    def warning(self, text: str) -> None:
        """Keep a warning; show each kind once."""
        start = text[:60]
        self._said[start] = self._said.get(start, 0) + 1
        if self._said[start] <= _MOST_SAME:
            self.warnings.append(text)
            self._progress(f"TensorRT warning: {text[:300]}")

    def info(self, text: str) -> None:
        """Show a line that marks a stage."""
        if text.startswith(_STAGES):
            start = text[:40]
            self._said[start] = self._said.get(start, 0) + 1
            if self._said[start] <= _MOST_SAME or text.startswith("Calibrated batch"):
                self._progress(f"TensorRT: {text[:200]}")


def make_logger(keeper: LogKeeper) -> trt.ILogger:
    """Return a TensorRT logger that hands its lines to ``keeper``."""
    import tensorrt as trt

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                keeper.error(msg)
            elif severity == trt.ILogger.WARNING:
                keeper.warning(msg)
            elif severity == trt.ILogger.INFO:
                keeper.info(msg)

    return Logger()
