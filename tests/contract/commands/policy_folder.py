"""A runtime folder with the policy of `tests/fakes/nodes/policy_engine.py`, built as a fleet builds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.contract.node.runtime_config import RuntimeConfig
from tests.contract.robot.built_model import built
from tests.fakes.nodes.policy_engine import OPTIONS, golden, model_of, policy


def write_policy(folder: Path, **options: Any) -> RuntimeConfig:
    """Write ``folder``, which is called ``rt``. Options are the decoder's; one of None is left out."""
    assert folder.name == "rt"
    given = {key: value for key, value in {**OPTIONS, **options}.items() if value is not None}
    return built(folder.parent, policy().SerializeToString(), golden(), model_of(given))
