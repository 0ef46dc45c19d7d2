"""Merge rules, and waves as they may be written, for whatever is thrown at them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fleet.manifest.inherit import Inheritance, merge_models
from fleet.manifest.schema.manifest_schema import ModelUse, Robot, Rollout, Settings
from fleet.manifest.schema.values import Seconds

NAMES = st.sampled_from(["a", "b", "c"])
USES = st.builds(
    lambda name, keys: ModelUse(model=name, **keys),
    NAMES,
    st.fixed_dictionaries(
        {},
        optional={
            "precision": st.sampled_from(["fp32", "fp16", "int8"]),
            "threads": st.integers(1, 4),
            "enabled": st.booleans(),
        },
    ),
)
LEVELS = st.lists(st.lists(USES, max_size=3, unique_by=lambda use: use.model).map(tuple), min_size=1, max_size=3)


@given(LEVELS)
def test_each_key_is_the_nearest_one_written(levels: list[tuple[ModelUse, ...]]) -> None:
    merged = {use.model: use for use in merge_models(*levels)}
    for name in "abc":
        written = [use for level in levels for use in level if use.model == name]
        enabled = [use.enabled for use in written if "enabled" in use.model_fields_set]
        assert (name in merged) == (bool(written) and (enabled[-1] if enabled else True))
        if name in merged:
            for key in ("precision", "threads"):
                values = [getattr(use, key) for use in written if getattr(use, key) is not None]
                assert getattr(merged[name], key) == (values[-1] if values else None)


@given(LEVELS)
def test_merging_is_sorted_and_each_once(levels: list[tuple[ModelUse, ...]]) -> None:
    names = [use.model for use in merge_models(*levels)]
    assert names == sorted(set(names))


@given(st.dictionaries(NAMES, NAMES), st.dictionaries(NAMES, NAMES), st.dictionaries(NAMES, NAMES))
def test_labels_merge_by_key(far: dict[str, str], middle: dict[str, str], near: dict[str, str]) -> None:
    inheritance = Inheritance(Settings(labels=far), {"g": Settings(labels=middle)})
    settings = inheritance.of(Robot(name="r", host="h", group="g", labels=near))
    assert settings.labels == {**far, **middle, **near}


def test_robots_without_settings_share_them() -> None:
    inheritance = Inheritance(Settings(), {"g": Settings(port=2222)})
    one, two = (inheritance.of(Robot(name=name, host=name, group="g")) for name in ("a", "b"))
    assert one is two
    assert one.port == 2222


@given(st.lists(st.integers(1, 50), max_size=4), st.lists(st.integers(1, 99), max_size=4))
def test_waves_that_grow_are_taken(counts: list[int], percents: list[int]) -> None:
    waves = [*sorted(set(counts)), *(f"{percent}%" for percent in sorted(set(percents))), "100%"]
    assert [wave.to for wave in Rollout.model_validate({"waves": waves}).waves] == waves


@given(st.lists(st.one_of(st.integers(-3, 50), st.integers(-3, 120).map(lambda n: f"{n}%")), max_size=5))
def test_waves_are_taken_only_when_they_grow_to_all(waves: list[Any]) -> None:
    try:
        taken = [wave.to for wave in Rollout.model_validate({"waves": waves}).waves]
    except ValidationError:
        return
    counts = [wave for wave in taken if isinstance(wave, int)]
    percents = [float(wave[:-1]) for wave in taken if isinstance(wave, str)]
    assert taken[: len(counts)] == counts == sorted(set(counts))
    assert percents == sorted(set(percents))
    assert percents[-1] == 100


@pytest.mark.parametrize(
    ("text", "seconds"), [("200ms", 0.2), ("0s", 0), ("1.5s", 1.5), ("5m", 300), ("2h", 7200), ("30s", 30)]
)
def test_durations(text: str, seconds: float) -> None:
    assert TypeAdapter(Seconds).validate_python(text) == pytest.approx(seconds)


@given(st.integers(0, 10**7), st.integers(0, 10**6))
def test_values_written_as_json_can_be_read_again(milliseconds: int, millionths: int) -> None:
    rollout = Rollout(soak=f"{milliseconds}ms", success=f"{millionths / 10**4}%")  # type: ignore[arg-type]
    again = Rollout.model_validate_json(rollout.model_dump_json())
    assert again.soak == pytest.approx(rollout.soak)
    assert again.success == pytest.approx(rollout.success)


@pytest.mark.parametrize("text", ["", "s", "1", "-1s", "1 s", "1d", "1sec", 5, 1.5, True, None])
def test_not_durations(text: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Seconds).validate_python(text, strict=True)
