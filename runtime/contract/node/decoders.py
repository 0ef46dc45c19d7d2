"""The decoders that are built in, and every option of each: one table for the manifest's check and for the runtime.

A decoder of somebody's own is written ``package:name`` and knows its options itself. Stdlib only, Python 3.8.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Tuple

from runtime.contract.node.box_options import BOX_OPTIONS, head_problems, with_head
from runtime.contract.node.commands import GUARD_OPTIONS, JOINT_OPTIONS, joint_rules, velocity_rules
from runtime.contract.node.options import (
    OptionError,
    OptionProblem,
    OptionSpec,
    Rules,
    no_rules,
    problems_with,
    read_with,
)

__all__ = [
    "DECODER_OPTIONS",
    "GUARD_OPTIONS",
    "OptionError",
    "OptionProblem",
    "OptionSpec",
    "is_plugin",
    "option_problems",
    "problems_with",
    "read_options",
    "read_with",
    "unknown_decoder",
]

_PLUGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?:[A-Za-z_][A-Za-z0-9_.-]*")

_AXES = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")

TENSOR_MESSAGES = ("multiarray", "Float32MultiArray", "Float64MultiArray")
"""Of std_msgs, what a whole tensor can be; ``multiarray`` is the Float32MultiArray."""

DECODER_OPTIONS: Dict[str, Tuple[OptionSpec, ...]] = {
    **BOX_OPTIONS,
    "classification": (
        OptionSpec("top_k", "whole", 5, 1, 1000),
        OptionSpec("softmax", "flag", False),
        OptionSpec("labels", "words", ()),
    ),
    "depth": (
        OptionSpec("unit", "choice", "m", choices=("m", "mm")),
        OptionSpec("scale", "number", 1.0, -1e6, 1e6),
        OptionSpec("offset", "number", 0.0, -1e6, 1e6),
        OptionSpec("inverse", "flag", False),
        OptionSpec("min", "number", 0.0, 0.0, 1000.0, unit="m"),
        OptionSpec("max", "number", 1000.0, 0.0, 1000.0, unit="m"),
        OptionSpec("size", "choice", "model", choices=("model", "camera")),
    ),
    "joints": (
        OptionSpec("scale", "each", 1.0, -10000.0, 10000.0),
        OptionSpec("offset", "each", 0.0, -10000.0, 10000.0),
        *JOINT_OPTIONS,
    ),
    "mask": (
        OptionSpec("threshold", "number", 0.5, 0.0, 1.0),
        OptionSpec("size", "choice", "model", choices=("model", "camera")),
        OptionSpec("labels", "words", ()),
    ),
    "tensor": (
        OptionSpec("name", "word", ""),
        OptionSpec("max_elements", "whole", 4096, 1, 65536),
        OptionSpec("message", "choice", "json", choices=("json", *TENSOR_MESSAGES)),
    ),
    "text_boxes": (
        OptionSpec("threshold", "number", 0.3, 0.0, 1.0),
        OptionSpec("box_threshold", "number", 0.6, 0.0, 1.0),
        OptionSpec("unclip", "number", 1.5, 0.0, 10.0),
        OptionSpec("min_size", "whole", 3, 1, 1000),
        OptionSpec("max_boxes", "whole", 100, 1, 1000),
    ),
    "velocity": (
        OptionSpec("axes", "words", ("linear.x", "angular.z"), choices=_AXES),
        OptionSpec("scale", "numbers", (), -100.0, 100.0),
        *GUARD_OPTIONS,
    ),
}


def is_plugin(name: str) -> bool:
    """Say whether ``name`` has the form ``package:name`` of somebody's own decoder."""
    return _PLUGIN.fullmatch(name) is not None


def unknown_decoder(name: str) -> OptionError:
    """Return the error for a decoder's name that is neither built in nor a plugin's."""
    known = ", ".join(sorted(DECODER_OPTIONS))
    return OptionError("there is no decoder {!r}: it is one of {}, or package:name".format(name, known))


def option_problems(decoder: str, options: Mapping[str, Any]) -> List[OptionProblem]:
    """Return everything that is wrong with the options of a built-in decoder. Raises KeyError for another name."""
    return problems_with(DECODER_OPTIONS[decoder], options, _rules(decoder, options))


def read_options(decoder: str, options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return every option of a built-in decoder with its value: durations in seconds, defaults where none is given.

    Raises OptionError for an unknown decoder, and for the first option that is wrong.
    """
    if decoder not in DECODER_OPTIONS:
        raise unknown_decoder(decoder)
    values = read_with(decoder, DECODER_OPTIONS[decoder], options, _rules(decoder, options))
    return with_head(values, options) if decoder in BOX_OPTIONS else values


def _rules(decoder: str, given: Mapping[str, Any]) -> Rules:
    """Return the rules between the options of one decoder; those of heads ask which were given."""
    if decoder in BOX_OPTIONS:
        return lambda values: head_problems(values, given)
    return _RULES.get(decoder, no_rules)


def _depth_rules(values: Dict[str, Any]) -> List[OptionProblem]:
    found = []
    if not values["min"] < values["max"]:
        message = "is {:g} m, and min is {:g} m".format(values["max"], values["min"])
        found.append(OptionProblem("max", message, "give a largest depth above the smallest"))
    if not values["scale"]:
        found.append(OptionProblem("scale", "is 0", "give another number: every pixel would have the same depth"))
    return found


_RULES: Dict[str, Rules] = {"depth": _depth_rules, "joints": joint_rules, "velocity": velocity_rules}
"""Rules between the options of one decoder."""
