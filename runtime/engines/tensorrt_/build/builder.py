"""A plan built in a child process, with a deadline, memory looked at before, and one more try after the OOM killer."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runtime.contract.codec import ContractError, canonical_json, from_json
from runtime.contract.engine.build import BuildFailure
from runtime.engines.backend import Progress
from runtime.engines.errors import EngineError
from runtime.engines.tensorrt_.build.request import PlanAnswer, PlanRequest
from runtime.engines.tensorrt_.build.supervise import Ended, supervise
from runtime.engines.tensorrt_.device import Gpu, Memory

CHILD = (sys.executable, "-m", "runtime.engines.tensorrt_.build.child")
_MIB = 1 << 20
SMALLEST_WORKSPACE = 64 * _MIB
_LARGEST_DEFAULT = 4096 * _MIB
_KEPT_BACK, _MOST_KEPT_BACK_S = 0.1, 60.0
_BASE_BYTES = 512 * _MIB
"""What CUDA and TensorRT take before the first layer."""


def choose_workspace(asked: int, gpu: Gpu) -> int:
    """Return the workspace cap in bytes; 0 asks for a quarter of the device's memory, at most 4 GiB.

    TensorRT's own default is all of the device's memory, which on a Jetson is the host's. Raises EngineError ``memory``
    when more is asked for than the device has.
    """
    if asked > gpu.memory_bytes:
        raise EngineError(
            "memory",
            f"workspace_bytes is {asked / _MIB:.0f} MiB, and {gpu.name} has {gpu.memory_bytes / _MIB:.0f} MiB",
            f"lower workspace_bytes, or leave it out (here that means {_default(gpu) / _MIB:.0f} MiB)",
        )
    return asked or _default(gpu)


def _default(gpu: Gpu) -> int:
    return min(gpu.memory_bytes // 4, _LARGEST_DEFAULT)


def check_memory(graph_bytes: int, workspace: int, memory: Memory, *, integrated: bool) -> list[str]:
    """Return notes on memory that could become short. Raises EngineError ``memory`` where it cannot be enough.

    A build holds the weights about three times: parsed, optimized, serialized. On a Jetson the workspace is host
    memory too.
    """
    least = _BASE_BYTES + 2 * graph_bytes
    likely = _BASE_BYTES + 3 * graph_bytes + (workspace if integrated else 0)
    have = memory.available + memory.swap_free
    said = f"{memory.available / _MIB:.0f} MiB of memory and {memory.swap_free / _MIB:.0f} MiB of swap are free"
    if have < least:
        raise EngineError(
            "memory",
            f"{said}, and this build needs at least {least / _MIB:.0f} MiB",
            "stop what else runs on the builder (a running robot container, a desktop), or add swap",
        )
    if have < likely:
        return [f"{said}; this build may need {likely / _MIB:.0f} MiB and be killed by the kernel"]
    return []


def time_left(whole_s: float, spent_s: float) -> float:
    """Return the seconds that TensorRT gets of a job that has ``whole_s`` and has used ``spent_s``.

    Kept back is what comes before and after: the container's start, loading and measuring the engine. So it is the job
    that says what took too long, not a container that was ended. Raises EngineError when nothing is left.
    """
    left = whole_s - min(_KEPT_BACK * whole_s, _MOST_KEPT_BACK_S) - spent_s
    if left > 0:
        return left
    raise EngineError(
        "unsupported",
        f"preparing the graph took {spent_s:.0f} s of {whole_s:.0f} s and left none for TensorRT",
        "raise the deadline (builder.timeout), or calibrate with fewer frames",
    )


def build_plan(
    request: PlanRequest, *, deadline_s: float, progress: Progress, command: Sequence[str] = CHILD
) -> tuple[PlanAnswer, PlanRequest]:
    """Build; return the answer and the request that it answers (a second try has a smaller workspace).

    Raises EngineError.
    """
    ended, answer = _try(request, deadline_s, progress, command)
    smaller = max(request.workspace_bytes // 4, SMALLEST_WORKSPACE)
    if ended.was_killed and smaller < request.workspace_bytes:
        progress(f"{_who_killed(ended)}: trying again with a workspace of {smaller // _MIB} MiB")
        request = replace(request, workspace_bytes=smaller)
        ended, answer = _try(request, max(deadline_s - ended.seconds, 1.0), progress, command)
    if answer is None and request.timing_given and not (ended.past_deadline or ended.was_killed):
        # A timing cache is the one input that nobody checks before TensorRT does: it must never be what fails a build.
        progress(f"the building process {_how(ended)}: trying again without the timing caches")
        request = replace(request, timing_given=())
        ended, answer = _try(request, max(deadline_s - ended.seconds, 1.0), progress, command)
    if isinstance(answer, BuildFailure):
        raise EngineError(answer.kind, answer.message, answer.hint, detail=answer.detail)
    if ended.code != 0 or answer is None:
        raise _explained(ended, request, deadline_s)
    return answer, request


def _try(
    request: PlanRequest, deadline_s: float, progress: Progress, command: Sequence[str]
) -> tuple[Ended, PlanAnswer | BuildFailure | None]:
    with tempfile.TemporaryDirectory(prefix="jetfleet-plan-") as folder:
        question, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        question.write_bytes(canonical_json(request))
        ended = supervise([*command, str(question), str(answer)], deadline_s=deadline_s, progress=progress)
        if not answer.is_file() or ended.past_deadline:
            return ended, None
        content = answer.read_bytes()
    try:
        return ended, from_json(PlanAnswer, content) if ended.code == 0 else from_json(BuildFailure, content)
    except ContractError as error:
        raise EngineError("internal", f"the building process gave an invalid answer: {error}", "see the log") from error


def _who_killed(ended: Ended) -> str:
    if ended.out_of_memory:
        return "the kernel ended the build because memory ran out"
    return "the build was killed (SIGKILL; usually the kernel, when memory runs out)"


def _how(ended: Ended) -> str:
    return f"ended with signal {-ended.code}" if ended.code < 0 else f"ended with exit code {ended.code}"


def _explained(ended: Ended, request: PlanRequest, deadline_s: float) -> EngineError:
    if ended.past_deadline:
        return EngineError(
            "unsupported",
            f"TensorRT did not finish within {deadline_s:.0f} s, and was ended",
            "raise the deadline (builder.timeout), lower optimization_level, or use a smaller input; a timing cache "
            "of an earlier build helps",
            detail=ended.tail,
        )
    if ended.was_killed:
        return EngineError(
            "memory",
            f"{_who_killed(ended)}, also with a workspace of {request.workspace_bytes // _MIB} MiB",
            "add swap, stop what else runs on the builder, or lower optimization_level",
            detail=ended.tail,
        )
    return EngineError(
        "internal",
        f"the building process {_how(ended)} and gave no reason",
        "its last lines are in the log; try another optimization_level",
        detail=ended.tail,
    )
