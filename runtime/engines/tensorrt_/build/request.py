"""What the backend asks of the process that builds a plan, and what that process answers: two JSON files.

Paths are absolute. Both sides run in the same container, from the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from runtime.contract.engine.build import TensorSpec


@dataclass(frozen=True)
class ShapeRange:
    """An optimization profile's range for one dynamic input."""

    name: str
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True)
class PlanRequest:
    """One plan to build from one ONNX graph."""

    graph: str
    """The ONNX file, already transformed."""
    plan: str
    """Where the plan goes; written whole or not at all."""
    layers: str
    """Where the engine inspector's JSON goes."""
    precision: str
    """fp32 | fp16 | int8."""
    workspace_bytes: int
    calibrator: bool = False
    """int8 by TensorRT's own calibrator instead of by the graph's Q/DQ pairs."""
    calibration: str = ""
    """The calibration set, for the calibrator; empty: there is none."""
    inputs: tuple[TensorSpec, ...] = ()
    """The source model's inputs, to read the calibration set with."""
    keep_fp32: tuple[str, ...] = ()
    """ONNX nodes that stay in fp32; a name that ends in ``/`` stands for all nodes below it."""
    optimization_level: int = 3
    dla_core: Optional[int] = None  # noqa: UP045  (the codec reads annotations on Python 3.8)
    tactic_sources: tuple[str, ...] = ()
    """Names of TacticSource; empty leaves TensorRT's default."""
    cache_folder: str = ""
    """Where timing and calibration caches are kept; empty: none are used."""
    timing_key: str = ""
    timing_given: tuple[str, ...] = ()
    """More timing caches for this device, to be merged into the one of ``timing_key``."""
    calibration_key: str = ""
    profiles: tuple[tuple[ShapeRange, ...], ...] = ()
    """Optimization profiles, for graphs with dynamic inputs."""


@dataclass(frozen=True)
class PlanAnswer:
    """What the building process did."""

    seconds: float
    """TensorRT's own part: from the parsed network to the serialized plan."""
    strongly_typed: bool
    timing_cache_in: int
    """Bytes of the timing cache that were there before; 0: none, or none that this TensorRT takes."""
    timing_cache_out: int
    timing_refused: int
    """Timing caches that this TensorRT does not take here, of those in ``timing_given``."""
    inputs: tuple[TensorSpec, ...]
    """The engine's own, as TensorRT names and types them."""
    outputs: tuple[TensorSpec, ...]
    dla_fallback: tuple[str, ...] = ()
    """Layers that asked for the DLA and run on the GPU."""
    calibration_cached: bool = False
    notes: tuple[str, ...] = ()
