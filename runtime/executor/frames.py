"""Moved: import from `runtime.executor.inputs.frames`. This path works for one release more."""

from __future__ import annotations

import warnings

from runtime.executor.inputs.frames import *  # noqa: F403

warnings.warn(
    "runtime.executor.frames has moved: import from runtime.executor.inputs.frames", DeprecationWarning, stacklevel=2
)
