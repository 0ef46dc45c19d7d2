"""The robot's own question: does this engine, here, answer golden frames as it should?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runtime.contract.engine.accuracy_gate import NOT_A_NUMBER_COSINE, lost, relative_limit
from runtime.contract.engine.build import EngineIdentity
from runtime.contract.engine.decoded import NOTHING, OutputDecoder
from runtime.contract.node.health import SelfTest
from runtime.decoding.frame_boxes import View
from runtime.engines.backend import Runner
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import Sample, free_axes, violation, worst
from runtime.engines.golden.decoded import Decoders, DecodingError, decoders_of
from runtime.engines.golden.golden_data import load_golden
from runtime.engines.golden.run_golden import run_golden

NO_VIEW = View(0, 0)


def self_test(
    runner: Runner,
    identity: EngineIdentity,
    golden_path: Path,
    declared: Sequence[OutputDecoder] = (),
    view: View = NO_VIEW,
) -> SelfTest:
    """Run the golden frames through ``runner`` and judge them by the sidecar's gate, then what the decoders that the
    robot is configured with make of them.

    Never raises for an engine that is wrong: a failed test is an answer.
    """
    gate = identity.self_test
    try:
        empty = identity.golden_expect == NOTHING
        outputs = [spec.name for spec in identity.outputs]
        golden = load_golden(golden_path, identity.inputs, outputs, may_be_empty=empty, state=identity.state)
        if not golden.expected:
            return _failed(gate.min_cosine, f"golden data {golden_path.name} has no expected outputs")
        own, right = run_golden(runner, golden), golden.expected_samples()
        measured = worst(own, right, free_axes(identity.outputs), zeros_agree=empty, state=identity.state)
        decoders, _ = decoders_of(declared, view, plugins=True)
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
    return _decoded(SelfTest(True, lowest, gate.min_cosine, message), decoders, own, right, identity)


def _decoded(
    passed: SelfTest, decoders: Decoders, own: Sequence[Sample], right: Sequence[Sample], identity: EngineIdentity
) -> SelfTest:
    """Return the test with what the decoders find; failed when they refuse answers, find nothing, or other things."""
    if not decoders.declared:
        return passed
    try:
        reference = decoders(right, shaped_like=own)
        if identity.golden_expect != NOTHING:
            decoders.require_findings(reference, right)
        decoded = decoders.report(decoders(own), reference)
    except (DecodingError, EngineError) as error:
        said = error.message if isinstance(error, EngineError) else str(error)
        return replace(passed, passed=False, message=f"{identity.precision} {said}")
    wrong = lost(decoded, identity.self_test)
    if wrong:
        return replace(passed, passed=False, message=f"{identity.precision} {wrong[0]}", decoded=decoded)
    said = "; ".join(f"{item.output}: {item.said}" for item in decoded)
    return replace(passed, message=f"{passed.message}; {said}", decoded=decoded)


def _failed(required: float, message: str) -> SelfTest:
    return SelfTest(False, NOT_A_NUMBER_COSINE, required, message)
