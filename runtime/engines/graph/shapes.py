"""Inputs that may have several shapes: which dimensions are free, and what a declared range must be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from runtime.contract.engine.build import TensorSpec
from runtime.engines.errors import EngineError


def has_range(spec: TensorSpec) -> bool:
    """Return whether an input may have more shapes than one."""
    return spec.min_shape != spec.max_shape


def is_free(spec: TensorSpec, dimension: int) -> bool:
    """Return whether one dimension of an input may have several sizes."""
    return has_range(spec) and spec.min_shape[dimension] != spec.max_shape[dimension]


def fixed(specs: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return the inputs with their one ``shape`` alone."""
    return tuple(replace(spec, min_shape=(), max_shape=()) for spec in specs)


def check_ranges(specs: Iterable[TensorSpec]) -> None:
    """Raise EngineError ``bad-model`` for a range that is none."""
    for spec in specs:
        low, high = spec.min_shape, spec.max_shape
        if not low and not high:
            continue
        if spec.preprocess is not None:
            raise EngineError(
                "bad-model",
                f"input {spec.name!r} is an image input, which cannot have a range of shapes",
                "give it one shape",
            )
        sizes = zip(low, spec.shape, high, strict=False)
        if not len(low) == len(spec.shape) == len(high) or not all(0 < a <= b <= c for a, b, c in sizes):
            raise EngineError(
                "bad-model",
                f"input {spec.name!r} may be {list(low)} to {list(high)}, tuned for {list(spec.shape)}",
                "in every dimension min <= opt <= max",
            )
