"""What the runtime container is told: which engines, wired to which topics, and when their behaviour is not fine."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.manifest.schema import Model, ModelInput, ModelUse, Profile
from fleet.resolve.desired import EngineSpec
from runtime.contract.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig, Thresholds


def runtime_config(
    profile: Profile, uses: tuple[ModelUse, ...], engines: tuple[EngineSpec, ...], models: Mapping[str, Model]
) -> RuntimeConfig:
    """Return the variant's configuration. ``engines`` are those of ``uses``, in the same order."""
    pairs = zip(uses, engines, strict=True)
    return RuntimeConfig(models=tuple(_model(profile, use, engine, models[use.model]) for use, engine in pairs))


def _model(profile: Profile, use: ModelUse, engine: EngineSpec, model: Model) -> ModelRuntime:
    return ModelRuntime(
        name=model.name,
        precision=engine.precision,
        engine_key=engine.key,
        inputs=tuple(_input(value) for value in model.inputs),
        outputs=tuple(
            OutputBinding(value.tensor, value.topic, value.decoder.name, dict(value.decoder.options))
            for value in model.outputs
        ),
        thresholds=_thresholds(profile, model),
        threads=use.threads or 1,
    )


def _input(value: ModelInput) -> InputBinding:
    rows, columns = value.shape[2:] if len(value.shape) == 4 else (0, 0)
    return InputBinding(value.tensor, value.topic, value.type, value.encoding, value.height, value.width, rows, columns)


def _thresholds(profile: Profile, model: Model) -> Thresholds:
    latency = model.gates.latency_p99.get(profile.name)
    rates = [value.min_rate for value in model.inputs if value.min_rate is not None]
    return Thresholds(
        max_latency_p99_ms=None if latency is None else latency * 1000.0,
        min_input_rate_hz=min(rates) if rates else None,
    )
