"""What can feed a model, and every option of each: one table for the manifest's check and for the runtime.

An adapter of somebody's own is written ``package:name`` and knows its options itself. Stdlib only, Python 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Tuple

from runtime.contract.node.camera_info import CAMERA_INFO, CAMERA_INFO_OPTIONS, camera_problem
from runtime.contract.node.decoders import OptionError, OptionSpec, read_with
from runtime.contract.node.encodings import ENCODINGS

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
LASER_SCAN = "sensor_msgs/msg/LaserScan"
IMU = "sensor_msgs/msg/Imu"
POINT_CLOUD = "sensor_msgs/msg/PointCloud2"
TWIST = "geometry_msgs/msg/Twist"
TWIST_STAMPED = "geometry_msgs/msg/TwistStamped"

JOINT_STATE = "sensor_msgs/msg/JointState"
ODOMETRY = "nav_msgs/msg/Odometry"
POSE_STAMPED = "geometry_msgs/msg/PoseStamped"
FLOAT32_ARRAY = "std_msgs/msg/Float32MultiArray"
FLOAT64_ARRAY = "std_msgs/msg/Float64MultiArray"

ARRAYS: Dict[str, str] = {
    FLOAT32_ARRAY: "f4",
    FLOAT64_ARRAY: "f8",
    **{"std_msgs/msg/Int{}MultiArray".format(8 * size): "i{}".format(size) for size in (1, 2, 4, 8)},
    **{"std_msgs/msg/UInt{}MultiArray".format(8 * size): "u{}".format(size) for size in (1, 2, 4, 8)},
}
"""Arrays of numbers, and how one is written in them (as numpy writes it)."""
SINGLES: Dict[str, str] = {
    "std_msgs/msg/Bool": "u1",
    "std_msgs/msg/Float32": "f4",
    "std_msgs/msg/Float64": "f8",
    **{"std_msgs/msg/Int{}".format(8 * size): "i{}".format(size) for size in (1, 2, 4, 8)},
    **{"std_msgs/msg/UInt{}".format(8 * size): "u{}".format(size) for size in (1, 2, 4, 8)},
}
"""Messages of one number."""
FLOATS = ("float32", "float64")
WHOLE = ("int64", "int32", "int16", "int8", "uint8", "bool")

IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)
"""Their preprocessing is in the engine, which takes the frame's bytes (`encodings.py`). All others feed tensors of the
declared shape and type, with nothing in front of them but what observations declare."""

TWIST_FIELDS = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
POSE_FIELDS = (
    "position.x", "position.y", "position.z", "orientation.x", "orientation.y", "orientation.z", "orientation.w",
)  # fmt: skip
ODOMETRY_FIELDS = (*("pose." + name for name in POSE_FIELDS), *("twist." + name for name in TWIST_FIELDS))
JOINT_FIELDS = ("position", "velocity", "effort")
IMU_MOTION = (
    "angular_velocity.x", "angular_velocity.y", "angular_velocity.z",
    "linear_acceleration.x", "linear_acceleration.y", "linear_acceleration.z",
)  # fmt: skip
IMU_FIELDS = ("orientation.x", "orientation.y", "orientation.z", "orientation.w", *IMU_MOTION)

FULL_TURN = 6.283185307179586
"""Radians."""

PACKED_COLOURS = ("rgb", "rgba")
"""Fields of a cloud whose four bytes are a colour, whatever datatype they are declared with (FLOAT32 by PCL): their
parts are asked for as ``r``, ``g``, ``b``, and ``a`` of ``rgba``."""

DEPTH_OPTIONS: Tuple[OptionSpec, ...] = (
    OptionSpec("invalid", "choice", "zero", choices=("zero", "max", "drop")),
    OptionSpec("max_range", "number", 0.0, 0.0, 65535.0, unit="in the frame's unit"),
)
"""What becomes of distances that are none (REP 118: 0 of 16UC1, NaN of 32FC1), or beyond ``max_range`` (0: any)."""

INPUT_OPTIONS: Dict[str, Tuple[OptionSpec, ...]] = {
    IMAGE: DEPTH_OPTIONS,
    COMPRESSED_IMAGE: (*DEPTH_OPTIONS, OptionSpec("exif", "flag", False)),
    LASER_SCAN: (
        OptionSpec("invalid", "choice", "max", choices=("max", "zero", "drop")),
        OptionSpec("angles", "numbers", (), -13.0, 13.0, unit="rad"),
        OptionSpec("resample", "choice", "never", choices=("never", "nearest", "closest")),
        OptionSpec("max_range", "number", 0.0, 0.0, 100000.0, unit="m"),
    ),
    CAMERA_INFO: CAMERA_INFO_OPTIONS,
    IMU: (OptionSpec("fields", "words", (), choices=IMU_FIELDS),),
    TWIST: (OptionSpec("fields", "words", (), choices=TWIST_FIELDS),),
    TWIST_STAMPED: (OptionSpec("fields", "words", (), choices=TWIST_FIELDS),),
    POSE_STAMPED: (OptionSpec("fields", "words", (), choices=POSE_FIELDS),),
    ODOMETRY: (OptionSpec("fields", "words", (), choices=ODOMETRY_FIELDS),),
    JOINT_STATE: (
        OptionSpec("joints", "words"),
        OptionSpec("fields", "words", ("position", "velocity"), choices=JOINT_FIELDS),
        OptionSpec("missing", "choice", "refuse", choices=("refuse", "zero")),
    ),
    **dict.fromkeys((*ARRAYS, *SINGLES), ()),
    POINT_CLOUD: (
        OptionSpec("fields", "words", ("x", "y", "z")),
        OptionSpec("layout", "choice", "points_first", choices=("points_first", "fields_first")),
        OptionSpec("too_many", "choice", "spread", choices=("spread", "first", "drop")),
        OptionSpec("padding", "choice", "zero", choices=("zero", "repeat")),
        OptionSpec("max_points", "whole", 0, 0, 10000000),
    ),
}


DEFAULT_FIELDS: Dict[str, Tuple[Tuple[str, ...], ...]] = {
    IMU: (IMU_FIELDS, IMU_MOTION),
    TWIST: (TWIST_FIELDS,),
    TWIST_STAMPED: (TWIST_FIELDS,),
    POSE_STAMPED: (POSE_FIELDS,),
    ODOMETRY: (ODOMETRY_FIELDS,),
}
"""Messages of a few numbers with names, and which of those are taken where nothing is chosen, by how many there are."""


@dataclass(frozen=True)
class ShapeProblem:
    """A tensor's shape that a message type cannot fill."""

    message: str
    hint: str


def read_input_options(kind: str, options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return every option of a built-in message type with its value. Raises OptionError."""
    if kind not in INPUT_OPTIONS:
        known = ", ".join(sorted(INPUT_OPTIONS))
        raise OptionError("no input takes {!r}: it is one of {}, or has an adapter package:name".format(kind, known))
    return read_with(kind, INPUT_OPTIONS[kind], options)


def image_problem(encoding: str, options: Mapping[str, Any]) -> Tuple[ShapeProblem, ...]:
    """Return why an image's options do not fit its encoding; empty when they do. ``options`` are valid and complete."""
    depth = ENCODINGS[encoding].depth
    if not depth and (options["invalid"] != "zero" or options["max_range"]):
        message = "invalid and max_range are for distances, but frames are {}".format(encoding)
        return (ShapeProblem(message, "remove them, or declare encoding: 16UC1 or 32FC1"),)
    if depth and options["invalid"] == "max" and not options["max_range"]:
        return (ShapeProblem("invalid: max needs max_range", "add max_range, in the frame's unit"),)
    return ()


def size_of(shape: Tuple[int, ...]) -> int:
    """Return how many values a tensor of this shape has."""
    result = 1
    for size in shape:
        result *= size
    return result


def chosen_fields(kind: str, fields: Tuple[str, ...], size: int) -> Tuple[str, ...]:
    """Return the fields that fill ``size`` values, in order; empty when no rule gives so many.

    Given ``fields`` must be as many as the tensor has values. Without them: all six of a twist, seven of a pose,
    thirteen of an odometry (pose, twist); of an Imu, ten values (orientation x y z w, angular velocity, linear
    acceleration) or the last six of those.
    """
    if fields:
        return fields if len(fields) == size else ()
    for default in DEFAULT_FIELDS[kind]:
        if len(default) == size:
            return default
    return ()


def shape_problem(kind: str, shape: Tuple[int, ...], options: Mapping[str, Any]) -> Tuple[ShapeProblem, ...]:
    """Return why ``kind`` cannot fill a tensor of ``shape``; empty when it can. ``options`` are valid."""
    if kind in (LASER_SCAN, POINT_CLOUD) and (len(shape) < 2 or shape[0] != 1):
        return (ShapeProblem("{} does not begin with a batch of 1".format(list(shape)), "write [1, …]"),)
    if kind in SINGLES and size_of(shape) != 1:
        message = "{} takes {} values, but {} is one".format(list(shape), size_of(shape), kind)
        return (ShapeProblem(message, "write [1] or [], or take a MultiArray"),)
    if kind == CAMERA_INFO:
        said, hint = camera_problem(options, size_of(shape))
        return (ShapeProblem(said, hint),) if said else ()
    if kind == JOINT_STATE:
        return _joint_problem(shape, tuple(options["joints"]), tuple(options["fields"]))
    if kind in DEFAULT_FIELDS:
        return _vector_problem(kind, shape, tuple(options["fields"]))
    if kind == LASER_SCAN:
        return _scan_problem(shape, tuple(options["angles"]), str(options["resample"]))
    if kind == POINT_CLOUD:
        return _cloud_problem(shape, tuple(options["fields"]), options["layout"] == "points_first")
    return ()


def dtype_problem(kind: str, dtype: str) -> Tuple[ShapeProblem, ...]:
    """Return why ``kind`` cannot fill a tensor of ``dtype``; empty when it can."""
    if kind in ARRAYS or kind in SINGLES:
        form = (ARRAYS.get(kind) or SINGLES[kind])[0]
        if form == "f" and dtype in WHOLE:
            whole = "std_msgs/msg/Bool or UInt8MultiArray" if dtype == "bool" else "std_msgs/msg/Int32MultiArray"
            return (ShapeProblem("{} cannot fill {}".format(kind, dtype), "take {}".format(whole)),)
        return ()
    takes = FLOATS if kind in DEFAULT_FIELDS or kind == JOINT_STATE else FLOATS[:1]
    if dtype not in takes:
        message = "{} cannot fill {}, but {}".format(kind, dtype, " or ".join(takes))
        return (ShapeProblem(message, "take a MultiArray of std_msgs, or export the model with a float32 input"),)
    return ()


def _vector_problem(kind: str, shape: Tuple[int, ...], fields: Tuple[str, ...]) -> Tuple[ShapeProblem, ...]:
    size = size_of(shape)
    if len(set(fields)) != len(fields):
        return (ShapeProblem("a field is named twice", "name every field once"),)
    if chosen_fields(kind, fields, size):
        return ()
    gives = str(len(fields)) if fields else " or ".join(str(len(each)) for each in DEFAULT_FIELDS[kind])
    message = "{} takes {} values, but {} gives {}".format(list(shape), size, kind, gives)
    return (ShapeProblem(message, "name as many fields under options as the tensor has values"),)


def _joint_problem(
    shape: Tuple[int, ...], joints: Tuple[str, ...], fields: Tuple[str, ...]
) -> Tuple[ShapeProblem, ...]:
    for what, names in (("joint", joints), ("field", fields)):
        if not names or len(set(names)) != len(names):
            return (ShapeProblem("no {} is named, or one twice".format(what), "name every one once"),)
    gives = len(joints) * len(fields)
    if size_of(shape) != gives:
        message = "{} takes {} values, but {} fields of {} joints are {}".format(
            list(shape), size_of(shape), len(fields), len(joints), gives
        )
        return (ShapeProblem(message, "write [1, {}]: first {} of all joints".format(gives, ", then ".join(fields))),)
    return ()


def _scan_problem(shape: Tuple[int, ...], angles: Tuple[float, ...], resample: str) -> Tuple[ShapeProblem, ...]:
    if len(angles) not in (0, 2):
        return (ShapeProblem("angles has {} numbers".format(len(angles)), "write angles: [first, last]"),)
    if resample == "never":
        return ()
    if len(angles) != 2 or angles[0] == angles[1] or size_of(shape) < 2:
        message = "resample: {} needs the angles of the first and the last of at least two beams".format(resample)
        return (ShapeProblem(message, "add angles: [first, last] under options, radians"),)
    if abs(angles[1] - angles[0]) > FULL_TURN + 0.001:
        message = "angles from {:g} to {:g} rad are more than a full turn".format(angles[0], angles[1])
        return (ShapeProblem(message, "correct angles: radians, not degrees"),)
    return ()


def _cloud_problem(shape: Tuple[int, ...], fields: Tuple[str, ...], points_first: bool) -> Tuple[ShapeProblem, ...]:
    if not fields or len(set(fields)) != len(fields):
        return (ShapeProblem("no field is named, or one twice", "write fields: [x, y, z]"),)
    packed = [name for name in fields if name in PACKED_COLOURS]
    if packed:
        parts = ", ".join([*(name for name in fields if name not in packed), "r", "g", "b"])
        message = "{} is a colour packed into four bytes, not a number".format(packed[0])
        return (ShapeProblem(message, "write fields: [{}], 0 to 255 each".format(parts)),)
    wanted = [1, "points", len(fields)] if points_first else [1, len(fields), "points"]
    shown = "[{}]".format(", ".join(map(str, wanted)))
    if len(shape) != 3 or shape[2 if points_first else 1] != len(fields):
        message = "{} does not hold points of {} fields".format(list(shape), len(fields))
        return (ShapeProblem(message, "write {}, or another layout under options".format(shown)),)
    return ()
