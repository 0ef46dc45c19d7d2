"""From an engine's folder to a runner that is warm and has passed its golden self-test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.contract.build import EngineIdentity
from runtime.contract.health import SelfTest
from runtime.contract.runtime_config import InputBinding, ModelRuntime
from runtime.engines.backend import Runner, backend_named
from runtime.engines.errors import EngineError
from runtime.engines.selftest import self_test
from runtime.engines.store import load_engine_dir
from runtime.executor.frames import CHANNELS

WARM_UP_RUNS = 3
"""Inferences before the first that counts: the first ones allocate, and their latency says nothing."""

IMAGE = "sensor_msgs/msg/Image"


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
        return LoadedEngine(runner, identity, self_test(runner, identity, files.golden))
    except EngineError:
        runner.close()
        raise


def _check_bindings(model: ModelRuntime, identity: EngineIdentity) -> None:
    """Compare what the model is wired to with what the engine has. Raises EngineError."""
    inputs = {spec.name: spec for spec in identity.inputs}
    for binding in model.inputs:
        spec = inputs.pop(binding.tensor, None)
        if spec is None:
            raise _misfit(model, f"the engine has no input {binding.tensor!r}")
        wanted = _shape(model, binding)
        if spec.shape != wanted or spec.dtype != "uint8":
            raise _misfit(
                model,
                f"input {spec.name!r} takes {spec.dtype} {list(spec.shape)}, its topic gives uint8 {list(wanted)}",
            )
    if inputs:
        raise _misfit(model, f"nothing feeds input {', '.join(sorted(inputs))}")
    outputs = {spec.name for spec in identity.outputs}
    for output in model.outputs:
        if output.tensor not in outputs:
            raise _misfit(model, f"the engine has no output {output.tensor!r}")


def _shape(model: ModelRuntime, binding: InputBinding) -> tuple[int, ...]:
    if binding.type != IMAGE or binding.encoding not in CHANNELS:
        raise _misfit(
            model,
            f"input {binding.tensor!r} is {binding.type} {binding.encoding!r}; "
            f"this runtime takes {IMAGE} in {', '.join(sorted(CHANNELS))}",
        )
    return (1, binding.height, binding.width, CHANNELS[binding.encoding])


def _misfit(model: ModelRuntime, what: str) -> EngineError:
    return EngineError("bad-model", f"model {model.name!r}: {what}", "correct the model's file and publish again")
