"""Which engine serves a model: its own, its declared fallback, or one that was put in while running.

Slots are filled by the model's own inputs whoever serves, so a change of engine drops no frame that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from runtime.contract.engine.decoded import OutputDecoder, pick, tensors_read
from runtime.contract.node.health import SelfTest
from runtime.contract.node.runtime_config import FallbackEngine, InputBinding, ModelRuntime
from runtime.contract.node.tensor_roles import tensors_problem
from runtime.decoding.decoders import Boxes, Decoder, OptionError, Result, View, decoder_named
from runtime.engines.errors import EngineError
from runtime.executor.inputs.frames import Stamp
from runtime.executor.serving.loading import LoadedEngine, decoders_of, view_of
from runtime.executor.serving.sequence import FrameSequence, Tell, not_told

CONFIGURED, FALLBACK, SWAPPED = "configured", "fallback", "swapped"

Publish = Callable[[Stamp, Result], None]
"""It may have a method ``failed(reason)``, which is told when a frame came to nothing."""
Loader = Callable[[ModelRuntime, Path], LoadedEngine]


class SelfTestError(EngineError):
    """An engine loads, and answers its golden frames wrongly."""

    def __init__(self, result: SelfTest) -> None:
        super().__init__("accuracy", f"self-test failed: {result.message}", "")
        self.result = result


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that may serve a model."""

    source: str
    """configured | fallback | swapped."""
    model: ModelRuntime
    """What the engine is loaded as: its name, key and precision, and its own tensors."""
    folder: Path
    """Folder of all engines, or of this one alone where ``source`` is swapped."""
    reason: str = ""
    """Why it is not the configured one."""


@dataclass(frozen=True, slots=True)
class Port:
    """One output of the model."""

    tensor: str
    decode: Decoder
    publish: Publish
    tensors: Mapping[str, str] = field(default_factory=dict)
    """Role → tensor, where the decoder reads several."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the tensors that it reads, in the order of their roles."""
        return tensors_read(self.tensor, self.tensors)

    def result(self, outputs: Mapping[str, npt.NDArray[Any]], view: View) -> Result:
        """Decode an engine's outputs. Raises ValueError."""
        return self.decode(pick(self.tensor, self.tensors, outputs), view)


class Unpublished:
    """Stands for a publisher that cannot be made: its model is not loaded, for this reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __call__(self, stamp: Stamp, result: Result) -> None:
        """Never called: loading the model refuses it."""
        del stamp, result
        raise RuntimeError(self.reason)


@dataclass(frozen=True, slots=True)
class Serving:
    """A loaded engine, wired to the slots and the publishers of the model that it serves."""

    candidate: Candidate
    engine: LoadedEngine
    feed: Mapping[str, npt.NDArray[Any]]
    """The model's own input tensor (its slot) → the engine's input buffer."""
    ports: tuple[Port, ...]
    view: View
    sequence: FrameSequence
    """What it keeps from frame to frame."""

    def close(self) -> None:
        """Free the engine. Only on the worker thread."""
        self.engine.runner.close()


def configured(model: ModelRuntime, engines_dir: Path) -> Candidate:
    """The engine that the configuration names."""
    return Candidate(CONFIGURED, model, engines_dir)


def fallback(model: ModelRuntime, engines_dir: Path, reason: str) -> Candidate | None:
    """The declared fallback of ``model``, or None when there is none."""
    there = model.fallback
    return None if there is None else Candidate(FALLBACK, _as_fallback(model, there), engines_dir, reason)


def prepare(
    model: ModelRuntime,
    candidate: Candidate,
    publishers: Mapping[str, Publish],
    loader: Loader,
    tell: Tell = not_told,
) -> Serving:
    """Load, test and wire an engine; blocks for as long as that takes. Raises EngineError, OptionError.

    ``publishers``: output topic → what sends its results; ``tell`` is told when what it keeps begins anew. On the
    worker thread, or on any other where the engine's backend allows that.
    """
    loaded_as = candidate.model
    decoders = [_decoder(item) for item in decoders_of(loaded_as)]
    for out in loaded_as.outputs:
        if isinstance(missing := publishers[out.topic], Unpublished):
            raise OptionError(missing.reason)
    engine = loader(loaded_as, candidate.folder)
    if not engine.self_test.passed:
        engine.runner.close()
        raise SelfTestError(engine.self_test)
    return Serving(
        candidate,
        engine,
        {
            slot.tensor: engine.runner.inputs[fed.tensor]
            for slot, fed in zip(model.inputs, loaded_as.inputs, strict=True)
        },
        tuple(
            Port(out.tensor, decode, publishers[out.topic], out.tensors)
            for out, decode in zip(loaded_as.outputs, decoders, strict=True)
        ),
        view_of(loaded_as, engine.identity),
        FrameSequence(loaded_as.state, engine.identity.state, engine.runner.inputs, tell),
    )


def _decoder(item: OutputDecoder) -> Decoder:
    if problem := tensors_problem(item.name, item.options, tuple(item.tensors)):
        raise OptionError(f"{problem[0]}: {problem[1]}")
    return decoder_named(item.name, item.options)


def tell_failed(publishers: Iterable[Publish], reason: str) -> None:
    """Tell the outputs that act on it (commands) that a frame came to nothing."""
    for publish in publishers:
        failed = getattr(publish, "failed", None)
        if failed is not None:
            failed(reason)


def left_out(result: Result) -> int:
    """Return how many findings a result leaves out, because there is a most."""
    return result.capped if isinstance(result, Boxes) else 0


def _as_fallback(model: ModelRuntime, there: FallbackEngine) -> ModelRuntime:
    """``model`` as its fallback runs it. Inputs are put in the order of the model's own, found by their topics."""
    left = list(there.inputs)
    ordered = []
    for own in model.inputs:
        match = next((fed for fed in left if _same_source(own, fed)), None)
        if match is None:  # the manifest's check refuses this; a configuration by hand may still say it
            match = own
        else:
            left.remove(match)
        ordered.append(match)
    outputs = tuple(
        replace(out, topic=own.topic) for own, out in zip(model.outputs, there.outputs, strict=False)
    )  # one result each, on the topics that somebody listens to
    return replace(
        model,
        name=there.model,
        precision=there.precision,
        engine_key=there.engine_key,
        inputs=tuple(ordered),
        outputs=outputs,
        threads=there.threads,
        state=there.state,
        fallback=None,
    )


def _same_source(own: InputBinding, fed: InputBinding) -> bool:
    """Fed by the same messages: only what is said of the network itself may differ."""
    same = replace(
        fed,
        tensor=own.tensor,
        network_height=own.network_height,
        network_width=own.network_width,
        stamp=own.stamp,
        offset_s=own.offset_s,
    )
    return same == own
