"""What the decoders make of an engine's answers to the golden frames, held against what they make of fp32's."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.contract.engine.accuracy_gate import lost
from runtime.contract.engine.build import BuildJob
from runtime.contract.engine.decoded import NOTHING, DecodedOutput
from runtime.engines.backend import Progress
from runtime.engines.errors import EngineError
from runtime.engines.golden.accuracy import Sample
from runtime.engines.golden.decoded import DecodingError, decoders_of, require_no_class_numbers, view_of

UNPROVEN = "decoder unproven: the golden frames are declared to show nothing (golden: {expect: nothing})"
_OPTIONS = "correct outputs/decoder and its options, or export the model in a layout that a decoder reads"


def judge_decoded(
    job: BuildJob, own: Sequence[Sample], fp32: Sequence[Sample], log: Progress
) -> tuple[tuple[DecodedOutput, ...], list[str]]:
    """Return what every declared decoder found, and what the report should note.

    Raises EngineError: ``bad-model`` for a decoder that refuses the source model's own answers, ``golden`` for frames
    in which nothing is to be found, ``accuracy`` for an engine whose results are refused or are others, unless the
    manifest waives that.
    """
    decoders, left = decoders_of(job.decoders, view_of(job.inputs), plugins=False)
    notes = [f"decoder {item.name} is run on the robot alone: its package is not in the builder" for item in left]
    if not decoders.declared:
        return (), notes
    try:
        reference = decoders(fp32)
        require_no_class_numbers(decoders, fp32)
    except DecodingError as error:
        raise EngineError("bad-model", f"{error} (the source model's own answer, at fp32)", _OPTIONS) from error
    if job.golden_expect == NOTHING:
        notes.append(UNPROVEN)
    else:
        decoders.require_findings(reference, fp32)
    try:
        decoded = decoders.report(decoders(own), reference)
    except DecodingError as error:
        return (), [*notes, _refused(job, f"{job.precision} {error}, and reads the fp32 source model's answer")]
    for item in decoded:
        log(f"decoder {item.decoder} of {item.output}: {item.said}" + _agreeing(item))
    wrong = lost(decoded, job.accuracy)
    return decoded, [*notes, *([_refused(job, f"{job.precision} {wrong[0]}")] if wrong else [])]


def _agreeing(item: DecodedOutput) -> str:
    return "" if item.agreement is None else f"; agreement with fp32 {item.agreement:.3f}"


def _refused(job: BuildJob, what: str) -> str:
    """Return the note of a waived gate. Raises EngineError ``accuracy`` where it is not waived."""
    if job.enforce_accuracy:
        hint = f"leave operators or nodes in float, use another calibration, or change gates.accuracy.{job.precision}"
        raise EngineError("accuracy", what, hint)
    return f"accuracy gate waived: {what}"
