"""Which values of an input a part of an observation takes: fields and joints by name, slices by place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from fleet.manifest.schema.model_schema import Model, ModelInput, ModelObservationPart
from runtime.contract.node.decoders import OptionError
from runtime.contract.node.inputs import DEFAULT_FIELDS, JOINT_STATE, chosen_fields, read_input_options, size_of

GRAVITY_FIELDS = ("orientation.x", "orientation.y", "orientation.z", "orientation.w")
"""What ``projected_gravity`` takes where nothing is chosen: of an Imu or a pose; of an odometry ``pose.`` before it."""


class PartError(ValueError):
    """A part does not fit its input. ``key`` of the part is wrong, empty where it is the whole."""

    def __init__(self, message: str, hint: str, key: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.key = key


def part_size(part: ModelObservationPart, model: Model) -> int | None:
    """Return how many values a part gives; None for a state whose shape only the ONNX file says. Raises PartError."""
    if (part.input is None) == (part.constant is None):
        raise PartError("a part is of an input or constant", "give exactly one of input and constant")
    if part.constant is not None:
        _nothing_else(part)
        return len(part.constant)
    size = _chosen_size(part, model)
    if part.projected_gravity:
        if size is not None and size != 4:
            hint = "choose the four fields of an orientation: x, y, z, w"
            raise PartError(
                f"projected_gravity needs a quaternion, {size} values are chosen", hint, "projected_gravity"
            )
        size = 3
    for key, given in (("subtract", part.subtract), ("scale", part.scale)):
        count = 1 if given is None or isinstance(given, dict) else len(given)
        if size is not None and count not in (1, size):
            raise PartError(f"{count} numbers for {size} values", f"give one number, or {size}", key)
    if isinstance(part.subtract, dict):
        subtracted(part, model)
    return size


def part_places(part: ModelObservationPart, model: Model) -> tuple[int, ...]:
    """Return the places of a part's values in the flattened input; empty: all of them. Raises PartError."""
    value = _input(part, model)
    if value is None or (part.fields, part.joints, part.slice) == (None, None, None):
        if value is not None and part.projected_gravity and value.type in DEFAULT_FIELDS:
            return _named(value, _gravity_fields(value))
        return () if part.slice is None else _sliced(part, _state_size(part, model))
    if part.slice is not None:
        if part.fields is not None or part.joints is not None:
            raise PartError("values are chosen by name or by place", "remove slice, or fields and joints", "slice")
        return _sliced(part, size_of(value.shape))
    if value.type == JOINT_STATE and value.adapter is None and value.topic is not None:
        return _of_joints(part, value)
    if part.joints is not None:
        raise PartError(f"{value.tensor} is {value.type}, which has no joints", "remove joints", "joints")
    return _named(value, part.fields or ())


def subtracted(part: ModelObservationPart, model: Model) -> tuple[float, ...]:
    """Return what is taken off each value; empty: nothing. Raises PartError for a joint without a number, or none."""
    if part.subtract is None:
        return ()
    if not isinstance(part.subtract, dict):
        return part.subtract
    value = _input(part, model)
    if value is None or value.type != JOINT_STATE or value.adapter is not None:
        raise PartError("numbers by joint are for a JointState", "write a list of numbers", "subtract")
    joints = part.joints or _joint_options(value)[0]
    fields = part.fields or _joint_options(value)[1]
    _known(part.subtract, joints, "joint", "subtract")
    missing = [name for name in joints if name not in part.subtract]
    if missing:
        hint = "give every joint a number, 0 where nothing is taken off"
        raise PartError(f"subtract has no number for {', '.join(missing)}", hint, "subtract")
    return tuple(part.subtract[name] for _ in fields for name in joints)


def _chosen_size(part: ModelObservationPart, model: Model) -> int | None:
    places = part_places(part, model)
    if places:
        return len(places)
    value = _input(part, model)
    return _state_size(part, model) if value is None else size_of(value.shape)


def _input(part: ModelObservationPart, model: Model) -> ModelInput | None:
    """Return the input that a part is of; None where that is a state."""
    value = next((each for each in model.fed if each.tensor == part.input), None)
    states = [each.input for each in model.state]
    if value is None and part.input not in states:
        _known([part.input or ""], [*(each.tensor for each in model.fed), *states], "input or state", "input")
    if value is not None and value.is_image:
        raise PartError(f"{value.tensor} is an image", "feed it to the model as an input of its own", "input")
    if value is None and (part.fields is not None or part.joints is not None):
        key = "fields" if part.fields is not None else "joints"
        raise PartError(f"{part.input} is a state, whose values have no names", "choose with slice", key)
    return value


def _state_size(part: ModelObservationPart, model: Model) -> int | None:
    shape = next((each.shape for each in model.state if each.input == part.input), None)
    return None if shape is None else size_of(shape)


def _sliced(part: ModelObservationPart, size: int | None) -> tuple[int, ...]:
    first, end = part.slice or (0, 0)
    if not 0 <= first < end or (size is not None and end > size):
        hint = f"write slice: [first, end], at most {size}; the value at end is none of them"
        raise PartError(f"{first} to {end} are not values of {part.input}", hint, "slice")
    return tuple(range(first, end))


def _of_joints(part: ModelObservationPart, value: ModelInput) -> tuple[int, ...]:
    """The input is its first field of all joints, then the next; so is the part, in its own order."""
    joints, fields = _joint_options(value)
    chosen, wanted = part.joints or joints, part.fields or fields
    _known(chosen, joints, "joint", "joints")
    _known(wanted, fields, "field", "fields")
    return tuple(fields.index(field) * len(joints) + joints.index(name) for field in wanted for name in chosen)


def _named(value: ModelInput, wanted: Sequence[str]) -> tuple[int, ...]:
    if value.type not in DEFAULT_FIELDS or value.adapter is not None or value.topic is None:
        raise PartError(f"the values of {value.tensor} have no names", "choose with slice: [first, end]", "fields")
    fields = chosen_fields(value.type, tuple(_options(value).get("fields", ())), size_of(value.shape))
    _known(wanted, fields, "field", "fields")
    return tuple(fields.index(name) for name in wanted)


def _gravity_fields(value: ModelInput) -> tuple[str, ...]:
    fields = chosen_fields(value.type, tuple(_options(value).get("fields", ())), size_of(value.shape))
    prefix = "pose." if any(name.startswith("pose.") for name in fields) else ""
    return tuple(prefix + name for name in GRAVITY_FIELDS)


def _joint_options(value: ModelInput) -> tuple[tuple[str, ...], tuple[str, ...]]:
    options = _options(value)
    return tuple(options.get("joints", ())), tuple(options.get("fields", ()))


def _options(value: ModelInput) -> dict[str, Any]:
    try:
        return read_input_options(value.type, value.options)
    except OptionError as error:
        raise PartError(f"the options of {value.tensor} are wrong: {error}", "correct them first", "input") from error


def _known(names: Iterable[str], known: Sequence[str], what: str, key: str) -> None:
    """Refuse a name that is not there, with the near ones. Raises PartError."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
            raise PartError(f"there is no {what} {name}", hint, key)


def _nothing_else(part: ModelObservationPart) -> None:
    given = sorted(part.model_fields_set - {"constant"})
    if given:
        raise PartError(f"{given[0]} is for inputs, but this part is constant", "remove it", given[0])
