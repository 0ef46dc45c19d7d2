"""Two engines or reports side by side; where both can run here, their answers and times too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from runtime.contract.engine.build import DeviceFacts, EngineIdentity, OutputAccuracy
from runtime.contract.engine.engine_facts import BenchAnswer, CompareAnswer, EngineFacts, FactDifference, LayerFacts
from runtime.contract.engine.engine_tool import BenchRequest, CompareRequest
from runtime.engines.backend import Progress
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import free_axes, worst
from runtime.engines.tool.bench import bench_opened
from runtime.engines.tool.file_kind import ENGINE, REPORT
from runtime.engines.tool.flag_inputs import frames_for
from runtime.engines.tool.frames import run_frames
from runtime.engines.tool.inspect import look
from runtime.engines.tool.open_engine import Opened, open_engine


def run(request: CompareRequest, progress: Progress) -> CompareAnswer:
    """Compare documents, then runs. Raises EngineError for what is no engine; what cannot run here is a note."""
    first, second = look(Path(request.first)), look(Path(request.second))
    layers, shared = layer_differences(first.layers, second.layers)
    found = CompareAnswer(
        first=replace(first, layers=()),
        second=replace(second, layers=()),
        differences=tuple(differences(first, second)),
        layers=tuple(layers),
        layers_shared=shared,
    )
    if not request.run:
        return found
    if REPORT in (first.kind, second.kind):
        return replace(found, notes=("not run: a report alone has no engine to run",))
    return _run_both(found, request, progress)


def differences(first: EngineFacts, second: EngineFacts) -> list[FactDifference]:
    """Return every fact that both claim and do not share."""
    one, other = _claims(first), _claims(second)
    names = dict.fromkeys([*one, *other])
    return [FactDifference(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]


def _claims(facts: EngineFacts) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": facts.kind if facts.identity is None else "engine", "sha256": facts.sha256}
    if facts.plan is not None:
        found["plan's tensorrt"] = facts.plan.tensorrt
    if facts.identity is not None:
        found |= _identity_claims(facts.identity)
    if facts.report is not None:
        found |= {f"{name} (builder)": version for name, version in facts.report.versions.items()}
        found["source bytes"] = facts.report.source_bytes
    return found


def _identity_claims(identity: EngineIdentity) -> dict[str, Any]:
    device = {f"device {item.name}": getattr(identity.device, item.name) for item in fields(DeviceFacts)}
    found = {name: getattr(identity, name) for name in ("model", "backend", "precision", "key", "dla_core")}
    tensors = {"inputs": _shown(identity.inputs), "outputs": _shown(identity.outputs)}
    return {**found, **{name: value for name, value in device.items() if value is not None}, **tensors}


def _shown(specs: Sequence[Any]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype} {'x'.join(map(str, spec.shape))}" for spec in specs)


def layer_differences(first: Sequence[LayerFacts], second: Sequence[LayerFacts]) -> tuple[list[FactDifference], int]:
    """Return the layers of one name that run at another precision, and how many carry one name in both.

    Optimizers fuse and rename: a layer that only one engine has is no difference, only not comparable. A name that
    stands for several layers in one engine says nothing and is left out.
    """
    one, other = _by_name(first), _by_name(second)
    shared = [name for name in one if name in other]
    return [FactDifference(n, one[n], other[n]) for n in shared if one[n] != other[n]], len(shared)


def _by_name(layers: Sequence[LayerFacts]) -> dict[str, str]:
    often = Counter(layer.name for layer in layers if layer.precision is not None)
    return {layer.name: layer.precision for layer in layers if layer.precision is not None and often[layer.name] == 1}


def _run_both(found: CompareAnswer, request: CompareRequest, progress: Progress) -> CompareAnswer:
    opened: list[Opened] = []
    try:
        for facts in (found.first, found.second):
            progress(f"loading {facts.path}")
            shapes = {} if facts.kind == ENGINE else request.shapes
            opened.append(open_engine(Path(facts.path), threads=request.threads, shapes=shapes))
        outputs, words, frames = _answers(opened, request, progress)
        bench = _times(opened, request, progress)
    except EngineError as error:
        if error.kind == "usage":
            raise
        return replace(found, notes=(f"not run here: {error.message}",))
    finally:
        for each in opened:
            each.runner.close()
    return replace(found, outputs=outputs, input=words, frames=frames, bench=bench)


def _answers(
    opened: Sequence[Opened], request: CompareRequest, progress: Progress
) -> tuple[tuple[OutputAccuracy, ...], str, int]:
    """Run both on the first's frames. Raises EngineError ``golden`` when the second cannot take them."""
    first, second = opened
    frames, words = frames_for(first, request.input, request.seed)
    inputs = [[(spec.name, spec.dtype, spec.shape) for spec in each.identity.inputs] for each in opened]
    if inputs[0] != inputs[1]:
        raise EngineError(
            "golden",
            f"the two take different inputs ({_shown(first.identity.inputs)}; {_shown(second.identity.inputs)}), so "
            "there are no frames for both",
            "compare engines of one model, or use fleet engine bench",
        )
    common = {spec.name for spec in first.identity.outputs} & {spec.name for spec in second.identity.outputs}
    progress(f"running both on {words}")
    expected, _ = run_frames(first, frames)
    actual, _ = run_frames(second, frames)
    if not common:
        return (), words, len(frames)
    kept = [{name: value for name, value in answer.items() if name in common} for answer in expected]
    state = first.identity.state
    return worst(actual, kept, free_axes(first.identity.outputs), state=state), words, len(frames)


def _times(opened: Sequence[Opened], request: CompareRequest, progress: Progress) -> BenchAnswer:
    asked = BenchRequest(
        engines=(request.first, request.second), input=request.input, seconds=request.seconds, threads=request.threads,
        seed=request.seed,
    )  # fmt: skip
    return bench_opened(opened, asked, progress)
