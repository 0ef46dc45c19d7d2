"""Parts of somebody's own, by entry point: ``package:name`` is the entry point ``name`` of the installed ``package``.

The package's name is part of the part's name, so that two packages cannot mean different things by one word, and a
typo of a built-in name is never mistaken for a plugin.
"""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

DECODERS_GROUP = "jetfleet.decoders"
"""Decoders: a class made from its options and called with every output (`runtime/decoding/results.py`)."""


class PluginError(ValueError):
    """A plugin cannot be used. The message says which, why, and what to do."""


def load_plugin(group: str, name: str) -> Any:
    """Import and return what ``name`` (``package:name``) stands for in the entry point ``group``. Raises PluginError
    when the package is not installed, has no such entry point, or cannot be imported."""
    package, _, entry = name.partition(":")
    try:
        found = distribution(package)
    except (PackageNotFoundError, ValueError):
        raise PluginError(
            f"{name}: the package {package!r} is not installed: install it in the runtime image (the profile's "
            "base_image), or correct the name"
        ) from None
    points = {point.name: point for point in _entry_points(found, group)}
    if entry not in points:
        offered = ", ".join(sorted(points)) or "nothing"
        raise PluginError(
            f"{name}: the package {package!r} {found.version} has no entry point {entry!r} in {group}: "
            f"it offers {offered}"
        )
    try:
        return points[entry].load()
    except Exception as error:  # somebody's code: whatever it raises is a reason not to use it
        raise PluginError(
            f"{name}: {points[entry].value} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _entry_points(found: Distribution, group: str) -> list[Any]:
    return [point for point in found.entry_points if point.group == group]
