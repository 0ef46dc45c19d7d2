"""Constants, states and observations of a model's file, as builders and robots read them."""

from __future__ import annotations

from fleet.manifest.schema.manifest_schema import Model
from fleet.manifest.schema.model_schema import ModelInput, ModelObservation, ModelObservationPart, ModelState
from fleet.manifest.schema.observation_parts import part_places, subtracted
from runtime.contract.engine.model_front import ConstantSpec, ObservationPart, ObservationSpec, StateSpec
from runtime.contract.node.runtime_config import StateRule


def constants(model: Model) -> tuple[ConstantSpec, ...]:
    """Return the inputs that have one value for good."""
    return tuple(_constant(value) for value in model.inputs if value.constant is not None)


def state(model: Model) -> tuple[StateSpec, ...]:
    """Return what is kept from frame to frame, as it changes the engine."""
    return tuple(_state(value) for value in model.state)


def state_rules(model: Model) -> tuple[StateRule, ...]:
    """Return when it begins anew, as the robot runs it."""
    return tuple(StateRule(value.input, value.reset, value.gap, _after_failure(value)) for value in model.state)


def observations(model: Model) -> tuple[ObservationSpec, ...]:
    """Return the inputs that are composed, every name turned into a place."""
    return tuple(_observation(value, model) for value in model.observations)


def _after_failure(value: ModelState) -> str:
    return value.failed_frame or ("keep" if value.reset == "never" else "reset")


def _constant(value: ModelInput) -> ConstantSpec:
    shape = value.shape if "shape" in value.model_fields_set else None
    return ConstantSpec(value.tensor, value.constant or (), shape)


def _state(value: ModelState) -> StateSpec:
    return StateSpec(value.input, value.output or "", value.tail_of or "", value.shape, value.initial)


def _observation(value: ModelObservation, model: Model) -> ObservationSpec:
    parts = tuple(_part(part, model) for part in value.parts)
    return ObservationSpec(value.tensor, value.shape, parts, value.clip or ())


def _part(part: ModelObservationPart, model: Model) -> ObservationPart:
    if part.constant is not None:
        return ObservationPart(constant=part.constant)
    return ObservationPart(
        input=part.input or "",
        at=part_places(part, model),
        projected_gravity=part.projected_gravity,
        subtract=subtracted(part, model),
        clip=part.clip or (),
        scale=part.scale or (),
    )
