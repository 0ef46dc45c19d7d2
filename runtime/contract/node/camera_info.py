"""A camera's calibration as an input: which numbers of sensor_msgs/msg/CameraInfo, and how many.

Stdlib only, Python 3.8.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Tuple

from runtime.contract.node.options import OptionSpec

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
DISTORTION: Dict[str, int] = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
"""Distortion models and how many coefficients D has (sensor_msgs/msg/CameraInfo, distortion_models.hpp)."""
CAMERA_INFO_OPTIONS: Tuple[OptionSpec, ...] = (
    OptionSpec("fields", "words", ("k",), choices=("k", "d", "r", "p")),
    OptionSpec("distortion_model", "choice", "plumb_bob", choices=tuple(DISTORTION)),
    OptionSpec("size", "numbers", (), 1.0, 65535.0, unit="pixels"),
)


def camera_values(options: Mapping[str, Any]) -> int:
    """Return how many numbers the chosen fields are: K and R 9, P 12, D by its model. ``options`` are valid."""
    counts = {"k": 9, "r": 9, "p": 12, "d": DISTORTION[options["distortion_model"]]}
    return sum(counts[name] for name in options["fields"])


def camera_problem(options: Mapping[str, Any], values: int) -> Tuple[str, str]:
    """Return what is wrong with the options of a tensor with so many values, and what to do; empty strings when
    nothing is."""
    fields, size = options["fields"], options["size"]
    if not fields or len(set(fields)) != len(fields):
        return "no field is named, or one twice", "write fields: [k]"
    if len(size) not in (0, 2) or any(number != int(number) for number in size):
        return "size is not a width and a height", "write size: [640, 480], the picture that K and P are for"
    if camera_values(options) != values:
        message = "the tensor takes {} values, but {} of a CameraInfo are {}".format(
            values, ", ".join(fields), camera_values(options)
        )
        return message, "correct shape, fields or distortion_model"
    return "", ""
