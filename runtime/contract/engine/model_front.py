"""What a model's inputs are besides tensors that messages feed: constants, states, composed observations.

All of it is in the engine's key. Stdlib only, Python 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple


@dataclass(frozen=True)
class ConstantSpec:
    """An input of the ONNX file that has one value for good: the graph holds it, the engine has no such input."""

    name: str
    values: Tuple[float, ...]
    """In the tensor's order; one value fills the whole tensor. Whole for integers, 0 or 1 for bool."""
    shape: Optional[Tuple[int, ...]] = None
    """None: as the ONNX file says."""


@dataclass(frozen=True)
class StateSpec:
    """An input of the engine that takes, at every frame, what an output gave at the frame before."""

    input: str
    output: str = ""
    """An output of the model. Empty where ``tail_of`` says what is kept."""
    tail_of: str = ""
    """A float32 input or observation whose last values are kept: as many as the state has."""
    shape: Optional[Tuple[int, ...]] = None
    """None: as the ONNX file says. Always known in a sidecar."""
    initial: float = 0.0
    """Every value at the first frame of a sequence."""

    @property
    def kept(self) -> str:
        """Name of the engine's output that is kept."""
        return self.output or self.input + "/next"


@dataclass(frozen=True)
class ObservationPart:
    """Some values of an observation: chosen, less ``subtract``, clipped, times ``scale``, in this order."""

    input: str = ""
    """Input of the engine that they come from; empty: ``constant``."""
    at: Tuple[int, ...] = ()
    """Which of its values, by their place in the flattened tensor; empty: all."""
    projected_gravity: bool = False
    """The four chosen values are a quaternion x y z w (body in world), and become the direction of gravity in the
    body's frame: (0, 0, -1) while it stands upright."""
    subtract: Tuple[float, ...] = ()
    """One number, or one a value."""
    clip: Tuple[float, ...] = ()
    """Least and most."""
    scale: Tuple[float, ...] = ()
    """One number, or one a value."""
    constant: Tuple[float, ...] = ()


@dataclass(frozen=True)
class ObservationSpec:
    """A float32 input of the model that is composed of the engine's inputs, in the graph: its parts one after another.

    As Isaac Lab's observation manager and legged_gym's ``compute_observations`` compose them.
    """

    name: str
    shape: Tuple[int, ...]
    parts: Tuple[ObservationPart, ...]
    clip: Tuple[float, ...] = ()
    """Least and most of every value, at the end."""
