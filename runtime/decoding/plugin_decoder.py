"""Decoders of somebody's own: found by entry point, held to what they declare, and kept from ending the worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from runtime.contract.node.commands import GUARD_OPTIONS, JOINT_OPTIONS, joint_guard, velocity_guard
from runtime.decoding.options import OptionError
from runtime.decoding.plugins import DECODERS_GROUP, PluginError, load_plugin
from runtime.decoding.results import JointCommand, Result, Velocity, View
from runtime.decoding.sound import RESULTS, sound

_GUARDS = {
    Velocity: ({spec.name for spec in GUARD_OPTIONS}, velocity_guard, "velocity"),
    JointCommand: ({spec.name for spec in JOINT_OPTIONS}, joint_guard, "joints"),
}


class PluginDecoder:
    """Calls somebody's decoder. Whatever it raises, or returns that it did not declare, is an error of this frame."""

    result: ClassVar[type[Any]]

    def __init__(self, name: str, decode: Any, result: type[Any]) -> None:
        self._name, self._decode, self._result = name, decode, result

    def __call__(self, tensor: Any, view: View) -> Result:
        """Decode. Raises ValueError, whatever the decoder itself raises."""
        try:
            result = self._decode(tensor, view)
        except Exception as error:  # somebody's code: its defects must not end the worker of every model
            raise ValueError(f"decoder {self._name}: {type(error).__name__}: {error}") from error
        if not isinstance(result, self._result):
            raise ValueError(
                f"decoder {self._name} returned {type(result).__name__}, it declares {self._result.__name__}"
            )
        try:
            return sound(result)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"decoder {self._name} returned a {self._result.__name__} that is not valid: {error}"
            ) from error


def plugin_result(name: str) -> type[Any]:
    """Return what the decoder ``package:name`` declares as its result. Raises OptionError."""
    return _declared(name, _loaded(name))


def plugin_decoder(name: str, options: Mapping[str, Any]) -> PluginDecoder:
    """Make the decoder ``package:name``. Options that bound a command are not the decoder's and are kept from it.

    Raises OptionError when the package cannot be used or the decoder refuses its options.
    """
    kind = _loaded(name)
    result = _declared(name, kind)
    own = dict(options)
    if result in _GUARDS:
        names, guard, what = _GUARDS[result]
        guard({key: own.pop(key) for key in options if key in names}, f"{what} of {name}")
    try:
        decode = kind(own)
    except OptionError:
        raise
    except Exception as error:  # somebody's code
        raise OptionError(f"decoder {name} refuses its options: {type(error).__name__}: {error}") from error
    if not callable(decode):
        raise OptionError(f"decoder {name} cannot be called: give the class a method __call__(self, tensor, view)")
    return PluginDecoder(name, decode, result)


def _loaded(name: str) -> Any:
    try:
        return load_plugin(DECODERS_GROUP, name)
    except PluginError as error:
        raise OptionError(f"decoder {error}") from error


def _declared(name: str, kind: Any) -> type[Any]:
    result = getattr(kind, "result", None)
    if result not in RESULTS:
        known = ", ".join(one.__name__ for one in RESULTS)
        raise OptionError(f"decoder {name} does not say what it returns: give the class `result`, one of {known}")
    return result  # type: ignore[no-any-return]
