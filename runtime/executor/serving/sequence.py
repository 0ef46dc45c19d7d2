"""What a model keeps from frame to frame, and when that begins anew. All on the worker thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.model_front import StateSpec
from runtime.contract.node.runtime_config import StateRule
from runtime.engines.errors import EngineError
from runtime.engines.recurrent import Buffers, RecurrentState

GAP, CLOCK_BACK, FAILED_FRAME, NOT_FINITE = "gap", "clock_back", "failed_frame", "not_finite"
"""Why a sequence ended, for the report."""
ENGINE, ACTIVATED = "engine", "activated"
"""Another engine serves; the node was inactive."""

Outputs = Mapping[str, npt.NDArray[np.generic]]
Tell = Callable[[str, str], None]
"""Takes one of the names above, and a sentence."""


class FrameSequence:
    """The states of one engine. False where it has none."""

    def __init__(self, rules: Sequence[StateRule], specs: Sequence[StateSpec], buffers: Buffers, tell: Tell) -> None:
        """``buffers``: the engine's inputs; ``tell`` is called once for each sequence that ended early."""
        by_input = {rule.input: rule for rule in rules}
        self._states = [
            (by_input.get(spec.input, StateRule(spec.input)), RecurrentState([spec], buffers)) for spec in specs
        ]
        self._tell = tell
        self._last_ns = 0
        """When the last frame was taken; 0: there was none."""
        self._running: set[str] = set()
        """States that hold something of an earlier frame."""
        for _, state in self._states:
            state.reset()

    def __bool__(self) -> bool:
        return bool(self._states)

    @property
    def running(self) -> bool:
        """Something of an earlier frame is kept."""
        return bool(self._running)

    def begin_frame(self, at_ns: int) -> None:
        """A frame that was taken at ``at_ns`` (nanoseconds, 0: not known) comes next."""
        if not self._states:
            return
        apart_s = (at_ns - self._last_ns) / 1e9 if at_ns and self._last_ns else 0.0
        self._last_ns = at_ns
        late = [state for state in self._states if state[0].reset == "on_gap" and abs(apart_s) > state[0].gap_s]
        if late:
            why = GAP if apart_s > 0 else CLOCK_BACK
            said = f"{apart_s:.3f} s without a frame" if apart_s > 0 else f"stamps went back by {-apart_s:.3f} s"
            self._reset(late, why, said)

    def check(self, outputs: Outputs) -> None:
        """Raise EngineError where ``outputs`` cannot be kept; every state begins anew then."""
        for _, state in self._states:
            if problem := state.problem(outputs):
                self._reset(self._states, NOT_FINITE, problem)
                raise EngineError("internal", problem, "look for what the model cannot take in the frames before")

    def keep(self, outputs: Outputs) -> None:
        """Keep what a frame gave, for the next one."""
        for rule, state in self._states:
            state.keep(outputs)
            self._running.add(rule.input)

    def frame_failed(self, reason: str) -> None:
        """A frame came to nothing."""
        self._reset([each for each in self._states if each[0].failed_frame == "reset"], FAILED_FRAME, reason)

    def restart(self, why: str, said: str) -> None:
        """Begin a sequence."""
        self._reset(self._states, why, said)
        self._last_ns = 0

    def _reset(self, states: Sequence[tuple[StateRule, RecurrentState]], why: str, said: str) -> None:
        ended = [rule.input for rule, _ in states if rule.input in self._running]
        for rule, state in states:
            state.reset()
            self._running.discard(rule.input)
        if ended:
            self._tell(why, f"{', '.join(ended)}: {said}")


def not_told(why: str, said: str) -> None:
    """Where nobody counts."""
    del why, said


def misfit(rules: Sequence[StateRule], specs: Sequence[StateSpec]) -> str:
    """Say why configuration and engine do not keep the same states; empty when they do."""
    wanted, there = sorted(rule.input for rule in rules), sorted(spec.input for spec in specs)
    if wanted == there:
        return ""
    return f"it keeps state {', '.join(wanted) or 'none'}, and its engine {', '.join(there) or 'none'}"
