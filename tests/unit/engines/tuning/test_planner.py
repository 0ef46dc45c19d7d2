"""What a search tries next, and what it proposes: values in, values out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.contract.engine.tuning import ACCURACY, FAILED, LATENCY, PASSED, PRECISION, Mix
from runtime.engines.tool.tuning.keep_state import mix_digest
from runtime.engines.tool.tuning.planner import MOST_BUILDS, Build, Plan, Rank, fastest, next_step, with_regions
from tests.unit.engines.tuning.site import line, state, trial, whole

INT8, FP16, FP32 = whole(), whole("fp16", "fp16"), whole("fp32", "fp32")
ENTROPY = whole("int8 entropy")
PLAN = Plan((INT8, FP16), (ENTROPY, FP32), frozenset({"int8 minmax", "int8 entropy", "fp16"}))


def test_whole_precisions_come_first_and_the_fastest_of_them_ends_it_when_it_passes() -> None:
    assert next_step(PLAN, state()) == Build(INT8)
    assert next_step(PLAN, state(trial(INT8))) == Build(FP16)
    assert next_step(PLAN, state(trial(INT8), trial(FP16, p50=2))) is None


def test_a_refused_whole_is_ranked_then_built_with_as_many_regions_as_were_found() -> None:
    known = state(trial(INT8, ACCURACY), trial(FP16, p50=2))
    assert next_step(PLAN, known) == Rank(INT8)
    step = next_step(PLAN, replace(known, ranked=(line(16, 3),)))
    assert isinstance(step, Build)
    assert step.mix.regions == 3
    assert step.mix.options.int8 is not None
    assert step.mix.options.int8.exclude_nodes == ("act0", "act1", "act2", "conv0", "conv1", "conv2")


@pytest.mark.parametrize("needed", range(1, 16))
@pytest.mark.parametrize("suggested", [0, 1, 3, 8])
def test_the_size_that_fresh_builds_need_is_found_whatever_was_suggested(needed: int, suggested: int) -> None:
    known = state(trial(INT8, ACCURACY), trial(FP16, p50=2), ranked=(line(16, suggested),))
    sizes = []
    while isinstance(step := next_step(Plan((INT8, FP16), (), PLAN.rankable), known), Build):
        sizes.append(step.mix.regions)
        verdict = PASSED if step.mix.regions >= needed else ACCURACY
        known = replace(known, trials=(*known.trials, trial(step.mix, verdict, 1 + step.mix.regions / 100)))
    assert len(sizes) == len(set(sizes)) <= MOST_BUILDS
    best = fastest(known)
    assert best is not None
    assert best.mix.regions == min(size for size in sizes if size >= needed)
    if len(sizes) < MOST_BUILDS:
        assert best.mix.regions == needed


def test_with_too_many_in_float_it_is_no_int8_engine_and_fewer_are_tried() -> None:
    known = state(trial(INT8, ACCURACY), trial(FP16, p50=2), ranked=(line(16, 8),))
    mix = with_regions(INT8, line(16, 8), 8)
    step = next_step(PLAN, replace(known, trials=(*known.trials, trial(mix, PRECISION))))
    assert isinstance(step, Build)
    assert 0 < step.mix.regions < 8


def test_a_line_that_is_no_faster_without_regions_in_float_is_left_out() -> None:
    known = state(trial(INT8, ACCURACY, 2.2), trial(FP16, p50=2))
    assert next_step(replace(PLAN, later=()), known) is None


@pytest.mark.parametrize("verdict", [LATENCY, FAILED, PRECISION])
def test_what_regions_in_float_cannot_repair_is_not_tried(verdict: str) -> None:
    assert next_step(replace(PLAN, later=()), state(trial(INT8, verdict), trial(FP16, p50=2))) is None


def test_other_methods_come_when_no_whole_int8_passes() -> None:
    done = state(trial(INT8, FAILED), trial(FP16, p50=2))
    assert next_step(PLAN, done) == Build(ENTROPY)
    tried = replace(done, trials=(*done.trials, trial(ENTROPY, ACCURACY, 1.5)))
    assert next_step(PLAN, tried) == Rank(ENTROPY)


def test_levels_are_for_the_fastest_at_the_end() -> None:
    plan = Plan((INT8, FP16), (), frozenset(), (4, 5))
    known = state(trial(INT8, p50=1), trial(FP16, p50=2))
    levels = []
    while isinstance(step := next_step(plan, known), Build):
        levels.append((step.mix.precision, step.mix.options.optimization_level))
        known = replace(known, trials=(*known.trials, trial(step.mix, p50=3)))
    assert levels == [("int8", 4), ("int8", 5)]


def test_the_same_set_of_nodes_is_the_same_mix_whatever_it_is_called() -> None:
    mix = with_regions(INT8, line(4, 2), 2)
    turned = replace(line(4, 2), regions=line(4, 2).regions[1::-1] + line(4, 2).regions[2:])
    assert mix_digest(mix) == mix_digest(replace(with_regions(INT8, turned, 2), line="another"))
    assert mix_digest(mix) != mix_digest(INT8)


def test_declared_nodes_stay_and_half_precision_has_its_own_list() -> None:
    mix = with_regions(Mix("fp16", replace(FP16.options, keep_fp32_nodes=("conv9",)), "fp16"), line(4, 1), 1)
    assert mix.options.keep_fp32_nodes == ("conv9", "act0", "conv0")
    assert mix.options.int8 is None


def test_nothing_that_failed_is_the_fastest() -> None:
    assert fastest(state(trial(INT8, ACCURACY, 0.1), trial(FP16, LATENCY, 0.2))) is None
