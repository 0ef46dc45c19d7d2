"""Adapters of somebody's own: found by entry point, and kept from ending a thread."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from runtime.contract.node.runtime_config import InputBinding
from runtime.decoding.decoders import OptionError
from runtime.decoding.plugins import PluginError, load_plugin
from runtime.executor.inputs.adapters.base import Taken
from runtime.executor.inputs.frames import FrameRefusedError, Stamp

INPUTS_GROUP = "jetfleet.inputs"
"""Entry points: a class made from (options, shape), with the methods of `InputAdapter`."""


class PluginAdapter:
    """Calls somebody's adapter. Whatever it raises is an error of this message."""

    def __init__(self, binding: InputBinding) -> None:
        """Raises OptionError when the package cannot be used, or the adapter refuses its options."""
        name = binding.adapter
        try:
            kind = load_plugin(INPUTS_GROUP, name)
        except PluginError as error:
            raise OptionError(f"adapter {error}") from error
        try:
            adapter = kind(dict(binding.options), binding.shape)
        except Exception as error:  # somebody's code
            raise OptionError(f"adapter {name} refuses its options: {type(error).__name__}: {error}") from error
        for method in ("take", "fill"):
            if not callable(getattr(adapter, method, None)):
                raise OptionError(
                    f"adapter {name} has no method {method}: an adapter has take(message) and fill(data, tensor)"
                )
        self._name, self._adapter = name, adapter

    def take(self, message: bytes) -> Taken:
        """Ask the adapter. Raises FrameRefusedError, whatever the adapter itself raises."""
        try:
            taken = self._adapter.take(message)
        except FrameRefusedError:
            raise
        except Exception as error:  # somebody's code: its defects must not end the ROS thread
            raise self._defect(error) from error
        if not isinstance(taken, Taken) or not isinstance(taken.stamp, (Stamp, type(None))):
            raise FrameRefusedError(f"adapter {self._name} returned {type(taken).__name__}, not Taken", "adapter")
        return taken

    def fill(self, data: Any, tensor: npt.NDArray[Any]) -> None:
        """Ask the adapter. Raises FrameRefusedError, whatever the adapter itself raises."""
        try:
            self._adapter.fill(data, tensor)
        except FrameRefusedError:
            raise
        except Exception as error:  # somebody's code: its defects must not end the worker of every model
            raise self._defect(error) from error

    def _defect(self, error: Exception) -> FrameRefusedError:
        return FrameRefusedError(f"adapter {self._name}: {type(error).__name__}: {error}", "adapter")
