"""Engine specs for build tests: a small real model, as the resolver gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleet.manifest.load import load_manifest
from fleet.resolve.desired import EngineSpec
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from tests.fakes.fleet_folder import write_fleet


def engine_specs(folder: Path, *precisions: str, **changes: Any) -> list[EngineSpec]:
    """Return one spec a precision of the tiny model in ``folder``, in that order."""
    path = write_fleet(folder, **changes, fleet=_fleet(precisions))
    found = resolve(load_manifest(path), recipe_for).engines.values()
    return [next(spec for spec in found if spec.precision == precision) for precision in precisions]


def _fleet(precisions: tuple[str, ...]) -> dict[str, Any]:
    robots = [
        {"name": f"robot-{index}", "host": f"10.0.0.{index + 1}", "models": [{"model": "detector", "precision": value}]}
        for index, value in enumerate(precisions)
    ]
    return {"groups": None, "robots": robots}
