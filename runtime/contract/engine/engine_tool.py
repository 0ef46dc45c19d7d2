"""What `fleet engine` asks of the process that has the engine libraries, and what that process answers.

``python -m runtime.engines.tool VERB REQUEST ANSWER``: REQUEST is one of the ``…Request`` documents below, ANSWER the
file that is written when it is done: a :class:`ToolAnswer`. A failure's kind may also be ``usage``. Lines on stdout are
progress. Paths are absolute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from runtime.contract.engine.build import BuildFailure, BuildOptions, EngineReport
from runtime.contract.engine.engine_facts import BenchAnswer, CompareAnswer, EngineFacts, RunAnswer
from runtime.contract.engine.tuning import TuneAnswer

TOOL_MODULE = "runtime.engines.tool"
USAGE = "usage"
"""Kind of a failure that the person asking can mend: a missing file, one of another kind, an option that is wrong."""
JOB, BUILD, INSPECT, BENCH, RUN, COMPARE, TUNE = "job", "build", "inspect", "bench", "run", "compare", "tune"

Shapes = Dict[str, Tuple[int, ...]]
"""Input → the shape to give it, where a model leaves dimensions free."""


@dataclass(frozen=True)
class JobRequest:
    """Build what a job folder asks for (see :class:`~runtime.contract.engine.build.BuildJob`). Answer: EngineReport."""

    folder: str
    out: str
    timing_cache: Optional[str] = None
    """A file: read where it is there, written afterwards. TensorRT only."""


@dataclass(frozen=True)
class BuildRequest:
    """Build an engine from an ONNX file and nothing else: no preprocessing. Answer: EngineReport."""

    model: str
    name: str
    precision: str
    out: str
    options: BuildOptions
    backend: str = ""
    """Empty: TensorRT where it can be imported, else ONNX Runtime."""
    shapes: Shapes = field(default_factory=dict)
    state: Dict[str, str] = field(default_factory=dict)
    """Input → the output that it takes at the next frame."""
    constants: Dict[str, float] = field(default_factory=dict)
    """Input → its value for good."""
    calibration: Optional[str] = None
    golden: Optional[str] = None
    """None: frames made by a random generator with ``seed``."""
    seed: int = 0
    min_cosine: Optional[float] = None
    """None: accuracy is measured and stands in the report, and nothing is refused for it."""
    max_latency_p99_ms: Optional[float] = None
    bench_seconds: float = 3.0
    timing_cache: Optional[str] = None


@dataclass(frozen=True)
class InspectRequest:
    """Say what a file or folder is. Answer: EngineFacts."""

    path: str
    layers: bool = False
    """List layers also where that means to load the engine."""
    check: bool = False
    """Hold it against this machine."""
    shapes: Shapes = field(default_factory=dict)
    """For ``layers`` of a bare ONNX file."""
    times: bool = False
    """With ``layers``: measure their times here where no report says them, if the engine can run here."""


@dataclass(frozen=True)
class BenchRequest:
    """Measure one engine, or two in turn. Answer: BenchAnswer."""

    engines: Tuple[str, ...]
    input: Optional[str] = None
    """An .npz of frames or an image; None: the engine's golden frames, or random ones."""
    seconds: float = 3.0
    """For each engine."""
    iterations: Optional[int] = None
    """For each engine, instead of ``seconds``."""
    warm_up_seconds: float = 0.2
    threads: int = 1
    """CPU backends only."""
    cuda_graph: bool = False
    """TensorRT only."""
    shapes: Shapes = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class RunRequest:
    """Run an engine on frames. Answer: RunAnswer."""

    engine: str
    input: Optional[str] = None
    expect: Optional[str] = None
    """An .npz with expected outputs; None: those next to the frames, where there are any."""
    save: Optional[str] = None
    top: int = 5
    threads: int = 1
    min_cosine: Optional[float] = None
    """None: the engine's own gate, where it has one."""
    shapes: Shapes = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class CompareRequest:
    """Hold two engines or reports against each other. Answer: CompareAnswer."""

    first: str
    second: str
    run: bool = True
    """Run both on the same frames and measure them in turn, where both can run here."""
    seconds: float = 3.0
    threads: int = 1
    input: Optional[str] = None
    shapes: Shapes = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class TuneRequest:
    """Look for the fastest mix that passes the gates of a job's folder. Answer: TuneAnswer."""

    folder: str
    """Holds :class:`~runtime.contract.engine.tuning.TuneJob`, model, golden and calibration data."""
    state: str
    """A folder of this search's own: what an earlier run left there is gone on with."""


#: Verb → (request, answer).
DOCUMENTS: Dict[str, Tuple[type, type]] = {
    JOB: (JobRequest, EngineReport),
    BUILD: (BuildRequest, EngineReport),
    INSPECT: (InspectRequest, EngineFacts),
    BENCH: (BenchRequest, BenchAnswer),
    RUN: (RunRequest, RunAnswer),
    COMPARE: (CompareRequest, CompareAnswer),
    TUNE: (TuneRequest, TuneAnswer),
}


@dataclass(frozen=True)
class ToolAnswer:
    """The file that the process leaves: exactly one of the two."""

    result: Optional[Dict[str, Any]] = None
    failure: Optional[BuildFailure] = None
