"""Moved: import from `runtime.executor.inputs.adapters`. This path works for one release more."""

from __future__ import annotations

import warnings

from runtime.executor.inputs.adapters import *  # noqa: F403

warnings.warn(
    "runtime.executor.adapters has moved: import from runtime.executor.inputs.adapters",
    DeprecationWarning,
    stacklevel=2,
)
