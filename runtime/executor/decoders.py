"""Moved: import from `runtime.decoding.decoders`. This path works for one release more."""

from __future__ import annotations

import warnings

from runtime.decoding.decoders import *  # noqa: F403

warnings.warn(
    "runtime.executor.decoders has moved: import from runtime.decoding.decoders", DeprecationWarning, stacklevel=2
)
