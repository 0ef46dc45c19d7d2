"""From an engine's folder to a runner that is warm and has passed its golden self-test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.contract.engine.build import TOP_LEFT, EngineIdentity
from runtime.contract.engine.decoded import OutputDecoder, output_name
from runtime.contract.node.health import SelfTest
from runtime.contract.node.runtime_config import InputBinding, ModelRuntime
from runtime.decoding.decoders import OptionError, View
from runtime.engines.backend import Runner, backend_named
from runtime.engines.errors import EngineError
from runtime.engines.golden.selftest import self_test
from runtime.engines.store import load_engine_dir
from runtime.executor.inputs.adapters import adapter_for, tensor_of
from runtime.executor.serving.sequence import misfit as states_misfit

WARM_UP_RUNS = 3
"""Inferences before the first that counts: the first ones allocate, and their latency says nothing."""


@dataclass(frozen=True)
class LoadedEngine:
    """An engine that may serve when ``self_test`` passed."""

    runner: Runner
    identity: EngineIdentity
    self_test: SelfTest


def engine_folder(engines_dir: Path, model: ModelRuntime) -> Path:
    """Return where the engine of ``model`` is: ``<model>/<precision>``, or ``<model>`` in an older image."""
    own = engines_dir / model.name / model.precision
    return own if own.is_dir() else engines_dir / model.name


def load_engine(model: ModelRuntime, engines_dir: Path) -> LoadedEngine:
    """Check, load, warm up and test the engine of ``model``. Blocks for as long as that takes. Raises EngineError."""
    return load_engine_at(model, engine_folder(engines_dir, model))


def load_engine_at(model: ModelRuntime, folder: Path) -> LoadedEngine:
    """Like :func:`load_engine`, for an engine's own folder. Raises EngineError."""
    identity, files = load_engine_dir(folder)
    if identity.key != model.engine_key:
        raise EngineError(
            "corrupt",
            f"model {model.name!r}: the image holds engine {identity.key}, its configuration names {model.engine_key}",
            "publish the release again",
        )
    _check_bindings(model, identity)
    runner = backend_named(identity.backend).load(folder, model.threads)
    try:
        for _ in range(WARM_UP_RUNS):
            runner.infer()
        tested = self_test(runner, identity, files.golden, decoders_of(model), view_of(model, identity))
        return LoadedEngine(runner, identity, tested)
    except EngineError:
        runner.close()
        raise


def decoders_of(model: ModelRuntime) -> tuple[OutputDecoder, ...]:
    """Return the decoders of a model's outputs, each with its options; a tensor is called by its output's name."""
    return tuple(
        OutputDecoder(
            output_name(out.tensor, out.tensors),
            out.decoder,
            {"name": out.tensor, **out.options} if out.decoder == "tensor" else dict(out.options),
            dict(out.tensors),
        )
        for out in model.outputs
    )


def view_of(model: ModelRuntime, identity: EngineIdentity) -> View:
    """Return how the first image input goes into the network: its preprocessing is in the sidecar."""
    first = next((binding for binding in model.inputs if binding.height), model.inputs[0])
    specs = {spec.name: spec for spec in identity.inputs}
    pre = specs[first.tensor].preprocess if first.tensor in specs else None
    letterbox = pre is not None and pre.resize == "letterbox"
    # Results are of the picture as the network sees it: turned, where that is declared.
    height, width = pre.upright if pre is not None else (first.height, first.width)
    top_left = letterbox and pre is not None and pre.place == TOP_LEFT
    return View(height, width, letterbox, first.network_height, first.network_width, top_left)


def _check_bindings(model: ModelRuntime, identity: EngineIdentity) -> None:
    """Compare what the model is wired to with what the engine has. Raises EngineError."""
    inputs = {spec.name: spec for spec in identity.inputs}
    if model.trigger.input and model.trigger.input not in [binding.tensor for binding in model.inputs]:
        raise _misfit(model, f"its trigger {model.trigger.input!r} is not one of its inputs")
    for binding in model.inputs:
        spec = inputs.pop(binding.tensor, None)
        if spec is None:
            raise _misfit(model, f"the engine has no input {binding.tensor!r}")
        dtype, shape = _tensor(model, binding)
        if spec.shape != shape or not _takes(spec.dtype, dtype):
            gives = f"{binding.source} gives {dtype} {list(shape)}"
            raise _misfit(model, f"input {spec.name!r} takes {spec.dtype} {list(spec.shape)}, {gives}")
    if why := states_misfit(model.state, identity.state):
        raise _misfit(model, why)
    for kept in identity.state:
        inputs.pop(kept.input, None)
    if inputs:
        raise _misfit(model, f"there is no source for input {', '.join(sorted(inputs))}")
    outputs = {spec.name for spec in identity.outputs}
    missing = [name for output in model.outputs for name in output.sources if name not in outputs]
    if missing:
        raise _misfit(model, f"the engine has no output {missing[0]!r}")


def _tensor(model: ModelRuntime, binding: InputBinding) -> tuple[str, tuple[int, ...]]:
    """Return what feeds an input as dtype and shape. Raises EngineError when nothing here can."""
    if not binding.from_model:
        try:
            adapter_for(binding)
        except OptionError as error:
            raise _misfit(model, f"input {binding.tensor!r}: {error}") from error
    return tensor_of(binding)


def _takes(engine: str, fed: str) -> bool:
    """TensorRT takes int32 where the model has int64; numbers that do not fit refuse their frame."""
    return engine == fed or (engine, fed) == ("int32", "int64")


def _misfit(model: ModelRuntime, what: str) -> EngineError:
    return EngineError("bad-model", f"model {model.name!r}: {what}", "correct the model's file and publish again")
