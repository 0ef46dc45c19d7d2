"""Which nodes of a model cost the accuracy that a gate missed, and what to leave at a higher precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple


@dataclass(frozen=True)
class SensitiveNode:
    """One node, brought to the low precision alone while all the others stayed in float."""

    node: str
    """Name in the folded graph, as ``exclude_nodes`` and ``keep_fp32_nodes`` take it."""
    operator: str
    qsnr_db: Optional[float]
    """Signal to noise of what the node reads at the low precision, in decibels, the mean over channels; the worst of
    its inputs and weights. None where it reads nothing that the precision changes. It chose which nodes were tried."""
    min_cosine: float
    """Worst output and golden frame, against the fp32 source model."""
    max_abs_error: float
    severity: float
    """How far from fp32, as a share of what the gate allows: over 1, this node alone breaks the gate."""


@dataclass(frozen=True)
class Sensitivity:
    """What was measured after a failed accuracy gate. Measured in ONNX Runtime on the golden frames."""

    precision: str
    nodes: Tuple[SensitiveNode, ...]
    """Those that were tried alone, the costliest first."""
    keep: Tuple[str, ...]
    """Nodes to leave at the higher precision next to those that are declared already; empty when no set was found."""
    declared: Tuple[str, ...]
    """Nodes that the job excludes already."""
    verified: bool
    """True when the graph with ``declared`` and ``keep`` in float passed the accuracy gate."""
    min_cosine: Optional[float]
    """Of that graph, against the fp32 source model; None when there is none."""
    max_abs_error: Optional[float]
    bound: str
    """What was tried of how much, in which time."""
    note: str = ""
    """What else a person must know: that fp32 itself misses the gate, or that too little would stay quantized."""
