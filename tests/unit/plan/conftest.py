from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.manifest.load import load_manifest
from fleet.resolve.desired import Desired
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from tests.fakes.fleet_folder import write_fleet

DesiredFrom = Callable[..., Desired]


@pytest.fixture
def desired_from(tmp_path: Path) -> DesiredFrom:
    """Return a function that resolves the small valid fleet with changes."""

    def make(**changes: Any) -> Desired:
        return resolve(load_manifest(write_fleet(tmp_path / "fleet", **changes)), recipe_for)

    return make
