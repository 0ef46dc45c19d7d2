"""The robot's own question: does this engine, here, answer golden frames as it should?"""

from __future__ import annotations

from pathlib import Path

from runtime.contract.engine.accuracy_gate import NOT_A_NUMBER_COSINE, relative_limit
from runtime.contract.engine.build import EngineIdentity
from runtime.contract.node.health import SelfTest
from runtime.engines.backend import Runner
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import violation, worst
from runtime.engines.golden.golden_data import load_golden
from runtime.engines.golden.run_golden import run_golden


def self_test(runner: Runner, identity: EngineIdentity, golden_path: Path) -> SelfTest:
    """Run the golden frames through ``runner`` and judge them by the sidecar's gate.

    Never raises for an engine that is wrong: a failed test is an answer.
    """
    gate = identity.self_test
    try:
        golden = load_golden(golden_path, identity.inputs, [spec.name for spec in identity.outputs])
        if not golden.expected:
            return _failed(gate.min_cosine, f"golden data {golden_path.name} has no expected outputs")
        measured = worst(run_golden(runner, golden), golden.expected_samples())
    except EngineError as error:
        return _failed(gate.min_cosine, error.message)
    lowest = min(item.min_cosine for item in measured)
    wrong = violation(measured, gate)
    frames = f"{len(golden)} golden frame{'s' if len(golden) != 1 else ''}"
    if wrong is not None:
        return SelfTest(False, lowest, gate.min_cosine, f"{identity.precision} {wrong} ({frames})")
    off = max((item.relative_error or 0.0 for item in measured), default=0.0)
    message = (
        f"{identity.precision} cosine {lowest:.4f} >= {gate.min_cosine:.4f}, "
        f"relative error {off:.3g} <= {relative_limit(gate):.3g} ({frames})"
    )
    return SelfTest(True, lowest, gate.min_cosine, message)


def _failed(required: float, message: str) -> SelfTest:
    return SelfTest(False, NOT_A_NUMBER_COSINE, required, message)
