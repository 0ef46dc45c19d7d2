"""How far a build is, where TensorRT tells (from 9.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.engines.backend import Progress

if TYPE_CHECKING:
    import tensorrt as trt

_STEP = 10
"""Percent between two lines of one phase."""


class Phases:
    """Turns phases and steps into lines. The part that does not need TensorRT."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._steps: dict[str, int] = {}
        self._shown: dict[str, int] = {}
        self._outer: set[str] = set()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Note a phase; one without a parent, or right below such a one, is shown."""
        self._steps[name] = steps
        if not parent or parent in self._outer:
            if not parent:
                self._outer.add(name)
            self._shown[name] = 0
            self._progress(f"{name}: {steps} steps")

    def step(self, name: str, index: int) -> None:
        """Show every tenth part of a shown phase."""
        total = self._steps.get(name, 0)
        if name not in self._shown or total <= 0:
            return
        percent = 100 * (index + 1) // total
        if percent >= self._shown[name] + _STEP and percent < 100:
            self._shown[name] = percent
            self._progress(f"{name}: {percent} %")

    def finish(self, name: str) -> None:
        """Forget a phase."""
        self._shown.pop(name, None)
        self._steps.pop(name, None)


def make_monitor(progress: Progress) -> trt.IProgressMonitor:
    """Return TensorRT's view of :class:`Phases`."""
    import tensorrt as trt

    phases = Phases(progress)

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
