"""A failed accuracy gate is shown with what costs it and with lines that a manifest takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml

from fleet.build.check_result import failure_of
from fleet.build.sensitivity import sensitivity_lines, yaml_lines
from fleet.errors import EngineGateError
from fleet.manifest.schema.manifest_schema import Precisions
from fleet.ports import JobResult
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import BuildFailure
from runtime.contract.engine.sensitivity import SensitiveNode, Sensitivity
from tests.unit.build.specs import engine_specs

FOUND = Sensitivity(
    precision="int8",
    nodes=(
        SensitiveNode("/head/Conv", "Conv", 12.0, 0.80, 0.5, 20.0),
        *(SensitiveNode(f"conv{index}", "Conv", None, 0.9999, 0.01, 0.01) for index in range(9)),
    ),
    keep=("/head/Conv",),
    declared=("no", "conv 1"),
    verified=True,
    min_cosine=0.9951,
    max_abs_error=0.02,
    bound="10 of 40 nodes tried alone",
)


def test_the_table_and_the_lines_for_the_model_s_file() -> None:
    lines = sensitivity_lines(FOUND)
    assert " ".join(lines[0].split()) == "node at int8 alone operator cosine error of the gate local noise"
    assert lines[1].split() == ["/head/Conv", "Conv", "0.80000", "0.5", "2000%", "12", "dB"]
    assert "… and 2 more, each less" in lines
    assert any(line.startswith("With 1 node more in float the accuracy gate passed (cosine 0.99510") for line in lines)
    assert lines[-1].endswith("10 of 40 nodes tried alone")
    assert max(map(len, lines)) <= 111


def test_the_lines_are_what_a_manifest_takes() -> None:
    written = yaml.safe_load("\n".join(yaml_lines(FOUND)))
    written["precisions"]["int8"]["calibration"] = "frames"
    options = Precisions.model_validate(written["precisions"]).int8
    assert options is not None
    assert options.exclude_nodes == ("no", "conv 1", "/head/Conv")
    half = dataclasses.replace(FOUND, precision="fp16", keep=tuple(f"p2o.Conv.{index}" for index in range(40)))
    names = Precisions.model_validate(yaml.safe_load("\n".join(yaml_lines(half)))["precisions"]).fp16.keep_fp32_nodes
    assert names == (*FOUND.declared, *half.keep)


def test_a_guess_is_told_to_be_one_and_a_note_is_shown() -> None:
    guess = dataclasses.replace(FOUND, verified=False, min_cosine=None, note="no set of nodes was found in time")
    text = "\n".join(sensitivity_lines(guess))
    assert "A guess, NOT verified to pass" in text
    assert "note: no set of nodes was found" in text
    nothing = Sensitivity("int8", (), (), (), False, None, None, "", "not measured: no memory")
    assert sensitivity_lines(nothing) == ["note: not measured: no memory"]


def test_the_gate_s_error_carries_it(tmp_path: Path) -> None:
    (spec,) = engine_specs(tmp_path, "int8")
    result = JobResult(4, oom_killed=False, log_tail="", output=None)
    failure = BuildFailure("accuracy", "int8 cosine 0.8 < 0.99", "leave nodes in float", sensitivity=FOUND)
    failure = from_json(BuildFailure, canonical_json(failure))
    error = failure_of(spec, result, failure)
    assert isinstance(error, EngineGateError)
    assert error.sensitivity == FOUND
    assert "\n      exclude_nodes: [" in error.message
    assert error.hint.startswith("write those lines into the model's file")
    plain = failure_of(spec, result, dataclasses.replace(failure, sensitivity=None))
    assert plain.message == "detector int8 for sim-x86: int8 cosine 0.8 < 0.99"
    assert plain.hint == "leave nodes in float"
