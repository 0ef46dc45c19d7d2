"""Run an engine on frames: what comes out, whether it is what was expected, and a file of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.contract.engine.build import AccuracyGate, OutputAccuracy
from runtime.contract.engine.engine_facts import OutputStatistics, RunAnswer, TopValue
from runtime.contract.engine.engine_tool import USAGE, RunRequest
from runtime.engines.backend import Progress
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import free_axes, violation, worst
from runtime.engines.golden.golden_data import Arrays, Golden, gathered, save_golden, stack
from runtime.engines.golden.npz import NpzError, read_npz
from runtime.engines.recurrent import RecurrentState
from runtime.engines.tool.flag_inputs import frames_for
from runtime.engines.tool.open_engine import AS_EXPORTED, Opened, open_engine


def run(request: RunRequest, progress: Progress) -> RunAnswer:
    """Load, run, compare, save. Raises EngineError."""
    if request.save is not None and not Path(request.save).parent.is_dir():
        raise EngineError(USAGE, f"there is no folder {Path(request.save).parent}", "make it, or save elsewhere")
    progress(f"loading {request.engine}")
    opened = open_engine(Path(request.engine), threads=request.threads, shapes=request.shapes)
    try:
        frames, words = frames_for(opened, request.input, request.seed)
        progress(f"running {words}")
        answers, milliseconds = run_frames(opened, frames)
        accuracy, expected_from = _accuracy(request, opened, frames, answers, words)
    finally:
        opened.runner.close()
    gate = _gate(request, opened) if accuracy else None
    if request.save is not None:
        save_golden(Path(request.save), Golden({}, stack(answers, free_axes(opened.identity.outputs))))
    identity = opened.identity
    return RunAnswer(
        path=request.engine,
        model=identity.model,
        precision=identity.precision,
        backend=identity.backend,
        inputs=identity.inputs,
        input=words,
        frames=len(frames),
        milliseconds=tuple(milliseconds),
        outputs=tuple(statistics(spec.name, answers, request.top, spec.shape) for spec in identity.outputs),
        accuracy=accuracy,
        expected_from=expected_from,
        gate=gate,
        violation=violation(accuracy, gate) if gate else None,
        saved=request.save,
    )


def run_frames(opened: Opened, frames: Golden) -> tuple[list[Arrays], list[float]]:
    """Return copies of the outputs and the milliseconds, frame by frame; of an engine with state as one sequence.

    Raises EngineError.
    """
    inputs, answers, milliseconds = list(opened.runner.inputs.items()), [], []
    kept = RecurrentState(opened.identity.state, opened.runner.inputs)
    kept.reset()
    for index in range(len(frames)):
        start = time.perf_counter()
        frames.feed(index, inputs)
        found = opened.runner.infer()
        milliseconds.append((time.perf_counter() - start) * 1e3)
        answers.append({name: np.array(array) for name, array in found.items()})
        if problem := kept.problem(found):
            raise EngineError("bad-model", f"frame {index}: {problem}", "look at the frames before it")
        kept.keep(found)
    return answers, milliseconds


def statistics(name: str, answers: Sequence[Arrays], top: int, shape: tuple[int, ...] = ()) -> OutputStatistics:
    """Return one output's numbers over all frames, and the first frame's ``top`` largest values."""
    values = [np.asarray(answer[name]) for answer in answers]
    numbers = np.concatenate([each.astype(np.float64).ravel() for each in values])
    finite = np.isfinite(numbers)
    whole = numbers[finite]
    known = {
        what: float(function(whole)) if whole.size else None
        for what, function in (("min", np.min), ("max", np.max), ("mean", np.mean), ("std", np.std))
    }
    return OutputStatistics(
        name=name,
        dtype=str(values[0].dtype),
        shape=shape or tuple(values[0].shape),
        not_finite=int(finite.size - whole.size),
        top=tuple(largest(values[0].astype(np.float64), top)),
        **known,
    )


def largest(array: npt.NDArray[Any], count: int) -> list[TopValue]:
    """Return the largest finite values with their places, largest first; of equal ones the first place."""
    flat = np.where(np.isfinite(array), array, -np.inf).ravel()
    order = np.argsort(-flat, kind="stable")[:count]
    places = [np.unravel_index(int(index), array.shape) for index in order if flat[index] > -np.inf]
    return [TopValue(tuple(map(int, place)), float(array[place])) for place in places]


def _accuracy(
    request: RunRequest, opened: Opened, frames: Golden, answers: Sequence[Arrays], words: str
) -> tuple[tuple[OutputAccuracy, ...], str]:
    free, state = free_axes(opened.identity.outputs), opened.identity.state
    if request.expect is not None:
        path = Path(request.expect)
        return worst(answers, _expected(path, opened, len(frames)), free, state=state), path.name
    if frames.expected:
        return worst(answers, frames.expected_samples(), free, state=state), words
    return (), ""


def _expected(path: Path, opened: Opened, frames: int) -> list[Arrays]:
    """Read expected outputs alone, as ``--save`` writes them for any engine. Raises EngineError ``usage``."""
    if not path.is_file():
        raise EngineError(USAGE, f"there is no {path}", "give an .npz file with an array under each output's name")
    try:
        arrays = gathered(read_npz(path), [spec.name for spec in opened.identity.outputs])
    except NpzError as error:
        raise EngineError(USAGE, f"{path} {error}", "write it with numpy.savez") from error
    names = [spec.name for spec in opened.identity.outputs if spec.name in arrays]
    if not names:
        wanted = ", ".join(spec.name for spec in opened.identity.outputs)
        raise EngineError(USAGE, f"{path} holds no output of the engine", f"its outputs are: {wanted}")
    for name in names:
        if len(arrays[name]) != frames:
            raise EngineError(
                USAGE,
                f"{path} holds {len(arrays[name])} answers of output {name!r}, for {frames} frames",
                "expect answers to the same frames: run the other engine on the same input with --save",
            )
    return [{name: arrays[name][index] for name in names} for index in range(frames)]


def _gate(request: RunRequest, opened: Opened) -> AccuracyGate | None:
    """Return what the answers must satisfy: what was asked for, or what the robot's self-test asks."""
    if request.min_cosine is not None:
        return AccuracyGate(request.min_cosine)
    return None if opened.identity.precision == AS_EXPORTED else opened.identity.self_test
