"""A search for the fastest mix of precisions that passes a model's gates: what is asked, tried and found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

from runtime.contract.codec import SCHEMA
from runtime.contract.engine.build import BuildJob, BuildOptions, OutputAccuracy, Percentiles
from runtime.contract.engine.decoded import DecodedOutput
from runtime.contract.engine.task_metric import TaskMetric

TUNE_FILE = "tune.json"
"""In the job's folder: :class:`TuneJob`."""
STATE_FILE = "tune-state.json"
"""In the state's folder: :class:`TuneState`, written whole after every step."""
ANSWER_FILE = "tune-answer.json"
"""In a builder's result: :class:`TuneAnswer`."""
MOST_SECONDS = 300.0
BENCH_SECONDS = 1.0
DEFAULT_LEVEL = BuildOptions().optimization_level

PASSED, ACCURACY, LATENCY, PRECISION, FAILED, CRASHED, UNFINISHED = (
    "passed", "accuracy", "latency", "precision", "failed", "crashed", "unfinished",
)  # fmt: skip
"""Verdicts: all gates passed · a gate refused it, by its name · no engine came of it · the process died while it was
built, twice · its build was ended when the time was over."""


@dataclass(frozen=True)
class TuneJob:
    """What may be built, each precision with its own gates, and how long to look."""

    jobs: Dict[str, BuildJob]
    """Precision → the job that the manifest makes of it today. int8 only where there is calibration data."""
    seconds: float = MOST_SECONDS
    """Of all runs together: a run that goes on has what is left."""
    levels: Tuple[int, ...] = ()
    """TensorRT's optimization levels: the first for the search, the others for the fastest mix that it finds. Empty:
    the jobs' own."""
    bench_seconds: float = BENCH_SECONDS
    """How long each engine is measured."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Mix:
    """One choice of precisions: everything about a build that the search changes."""

    precision: str
    options: BuildOptions
    line: str
    """The choices that differ from each other only in how many regions stay in float: ``int8 minmax``."""
    regions: int = 0
    """How many of the line's regions stay in float."""


@dataclass(frozen=True)
class TuneTrial:
    """One mix, built afresh and judged by the gates of its precision, as `fleet build` does."""

    mix: Mix
    verdict: str
    why: str = ""
    """The gate's or the builder's sentence; empty when it passed."""
    accuracy: Tuple[OutputAccuracy, ...] = ()
    """Against the source model at fp32."""
    golden_accuracy: Tuple[OutputAccuracy, ...] = ()
    decoded: Tuple[DecodedOutput, ...] = ()
    metric: Optional[TaskMetric] = None
    latency: Optional[Percentiles] = None
    main_precisions: Dict[str, int] = field(default_factory=dict)
    engine_bytes: int = 0
    seconds: float = 0.0
    """From the source model to the verdict."""


@dataclass(frozen=True)
class Region:
    """Nodes that change their precision together: a convolution or matrix product and what follows it."""

    name: str
    nodes: Tuple[str, ...]
    severity: Optional[float] = None
    """Alone at the low precision, as a share of what the gates allow. None: not tried alone."""
    milliseconds: Optional[float] = None
    """Of its layers in the float engine. None: the backend does not say."""


@dataclass(frozen=True)
class RankedLine:
    """The regions of a line in the order in which they are left in float."""

    line: str
    regions: Tuple[Region, ...]
    suggested: int
    """How many of them let the gates pass when the graph was run in ONNX Runtime; 0: no number was found."""
    said: str
    """What was measured of how much, for a person."""
    seconds: float = 0.0


@dataclass(frozen=True)
class InTurn:
    """One of the fastest engines, measured in turn with the others."""

    mix: Mix
    p50: float
    p99: float
    count: int


@dataclass(frozen=True)
class TuneState:
    """Everything that a search knows, so that another process can go on with it."""

    asked: str
    """Digest of all that decides what is found: another model, gate or library is another search."""
    trials: Tuple[TuneTrial, ...] = ()
    ranked: Tuple[RankedLine, ...] = ()
    in_turn: Tuple[InTurn, ...] = ()
    running: Optional[Mix] = None
    """What was begun and not ended yet."""
    attempts: int = 0
    """How often that was begun."""
    spent_s: float = 0.0
    runs: int = 0
    schema: int = SCHEMA


@dataclass(frozen=True)
class TuneAnswer:
    """What a search came to."""

    model: str
    backend: str
    state: TuneState
    proposal: Optional[Mix]
    """The fastest that passed; None: nothing passed, or nothing was measured in time."""
    complete: bool
    """False: the time was over before everything had been tried. Another run with more time goes on."""
    gone_on_with: int
    """Trials that an earlier run had made."""
    versions: Dict[str, str]
    notes: Tuple[str, ...] = ()
    schema: int = SCHEMA


def described(mix: Mix) -> str:
    """Return a mix in a few words: ``int8 minmax, 3 regions in float, level 4``."""
    words = mix.line
    if mix.regions:
        rest = "fp32" if mix.precision == "fp16" else "float"
        words += ", {} region{} in {}".format(mix.regions, "s" if mix.regions > 1 else "", rest)
    level = mix.options.optimization_level
    return words if level == DEFAULT_LEVEL else "{}, level {}".format(words, level)
