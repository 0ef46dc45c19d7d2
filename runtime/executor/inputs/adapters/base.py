"""What an input adapter is: it checks a message where it arrives, and fills the engine's tensor where that runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from runtime.contract.node.inputs import dtype_problem, read_input_options, shape_problem
from runtime.contract.node.runtime_config import InputBinding
from runtime.decoding.decoders import OptionError
from runtime.executor.inputs.frames import Stamp


class Taken(NamedTuple):
    """A message that fits its input."""

    stamp: Stamp | None
    """Of the message's header; None where the type has none."""
    data: Any
    """What ``fill`` needs. Views into the message, never into memory that the next message overwrites."""


class InputAdapter(Protocol):
    """Between one message type and one tensor. ``take`` and ``fill`` run on two threads, at the same time."""

    def take(self, message: bytes) -> Taken:
        """Parse and check a serialized message, quickly: this is the ROS thread. Raises FrameRefusedError."""
        ...

    def fill(self, data: Any, tensor: npt.NDArray[Any]) -> None:
        """Write what ``take`` returned as ``data`` into the engine's input buffer, in place, on the worker thread.

        Raises FrameRefusedError.
        """
        ...


def checked(binding: InputBinding) -> Mapping[str, Any]:
    """Return the options of an input whose shape and element type fit its message. Raises OptionError."""
    options = read_input_options(binding.type, binding.options)
    shape, dtype = shape_problem(binding.type, binding.shape, options), dtype_problem(binding.type, binding.dtype)
    for problem in (*shape, *dtype):
        raise OptionError(f"input {binding.tensor!r}: {problem.message}: {problem.hint}")
    return options
