"""What the runtime container is told: which engines, wired to which topics, and when their behaviour is not fine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleet.manifest.schema.manifest_schema import Model, ModelInput, ModelUse, Profile
from fleet.resolve.desired import EngineSpec
from fleet.resolve.documents.model_front import state_rules
from runtime.contract.node.runtime_config import (
    FallbackEngine,
    InputBinding,
    JoinRule,
    ModelRuntime,
    OutputBinding,
    RuntimeConfig,
    Thresholds,
    Trigger,
)


def stand_in(use: ModelUse) -> ModelUse | None:
    """Return the use of the engine that serves when that of ``use`` fails, or None when none is declared."""
    there = use.fallback
    if there is None or there.precision is None:
        return None
    return ModelUse(model=there.model or use.model, precision=there.precision, threads=use.threads)


def runtime_config(
    profile: Profile,
    uses: tuple[ModelUse, ...],
    engines: tuple[EngineSpec, ...],
    models: Mapping[str, Model],
    fallbacks: Mapping[str, EngineSpec] | None = None,
) -> RuntimeConfig:
    """Return the variant's configuration. ``engines`` are those of ``uses``, in the same order; ``fallbacks`` those
    that take over, by the name of the model that they stand in for."""
    found = fallbacks or {}
    return RuntimeConfig(
        models=tuple(
            replace(
                _model(profile, use, engine, models[use.model]),
                fallback=_fallback_engine(use, found.get(use.model), models),
                on_failure=(use.fallback.then if use.fallback is not None else None) or "",
            )
            for use, engine in zip(uses, engines, strict=True)
        )
    )


def _fallback_engine(use: ModelUse, engine: EngineSpec | None, models: Mapping[str, Model]) -> FallbackEngine | None:
    if engine is None:
        return None
    own = models[use.model]
    model = models[engine.model]
    outputs = _outputs(model)
    return FallbackEngine(
        model=engine.model,
        precision=engine.precision,
        engine_key=engine.key,
        inputs=tuple(_input(value) for value in model.fed),
        outputs=tuple(replace(output, topic=mine.topic) for output, mine in zip(outputs, own.outputs, strict=True)),
        threads=use.threads or 1,
        state=state_rules(model),
    )


def _model(profile: Profile, use: ModelUse, engine: EngineSpec, model: Model) -> ModelRuntime:
    return ModelRuntime(
        name=model.name,
        precision=engine.precision,
        engine_key=engine.key,
        inputs=tuple(_input(value) for value in model.fed),
        outputs=_outputs(model),
        thresholds=_thresholds(profile, model),
        threads=use.threads or 1,
        trigger=_trigger(model),
        join=_join(model),
        state=state_rules(model),
    )


def _input(value: ModelInput) -> InputBinding:
    if value.is_image:
        rows, columns = value.image_shape[2:]
        return InputBinding(
            value.tensor,
            value.topic or "",
            value.type,
            value.encoding,
            value.height or 0,
            value.width or 0,
            rows,
            columns,
            options=dict(value.options),
            stamp=value.stamp,
            offset_s=value.offset,
        )
    if value.from_output is not None:
        feeding = value.from_output
        return InputBinding(
            value.tensor,
            "",
            "",
            shape=value.shape,
            dtype=value.dtype,
            from_model=feeding.model,
            from_tensor=feeding.tensor,
            offset_s=value.offset,
        )
    return InputBinding(
        value.tensor,
        value.topic or "",
        value.type,
        shape=value.shape,
        dtype=value.dtype,
        options=dict(value.options),
        adapter=value.adapter or "",
        stamp=value.stamp,
        offset_s=value.offset,
    )


def _trigger(model: Model) -> Trigger:
    wanted = model.trigger
    return Trigger(wanted.input or "", wanted.rate or 0.0, wanted.unchanged == "repeat")


def _join(model: Model) -> JoinRule:
    rule = model.join
    return JoinRule(rule.tolerance, rule.max_age, rule.clock_back, rule.queue, rule.match or "")


def _outputs(model: Model) -> tuple[OutputBinding, ...]:
    return tuple(
        OutputBinding(
            value.tensor or "", value.topic, value.decoder.name, dict(value.decoder.options), dict(value.tensors)
        )
        for value in model.outputs
    )


def _thresholds(profile: Profile, model: Model) -> Thresholds:
    latency = model.gates.latency_p99.get(profile.name)
    rates = [value.min_rate for value in model.inputs if value.min_rate is not None]
    return Thresholds(
        max_latency_p99_ms=None if latency is None else latency * 1000.0,
        min_input_rate_hz=min(rates) if rates else None,
    )
