"""Timing caches around a build: what goes in, what comes back, and that none of it ever fails a build."""

from __future__ import annotations

import dataclasses
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from fleet.build.job_archive import write_inputs
from fleet.build.timing import fetch_timings, keep_timings
from fleet.resolve.desired import EngineSpec
from runtime.contract.codec import to_dict
from runtime.contract.engine.build import TIMING_CACHE_FILE, DeviceFacts
from runtime.contract.engine.timing import TimingFacts, timing_file
from tests.fakes.registries.publishing import identity_of, report_of
from tests.unit.build.specs import engine_specs

NANO = DeviceFacts("linux/arm64", "p3767-0003", "36.4.3", 8, "12.6", "10.3.0")
FACTS = TimingFacts("10.3.0.30", "p3767-0003", 8, "15W")


class Memory:
    """Implements `fleet.build.timing.TimingCaches`: one cache."""

    def __init__(self) -> None:
        self.kept: list[tuple[TimingFacts, list[str], bytes]] = []
        self.error: OSError | None = None

    def fetch(self, device: DeviceFacts, folder: Path) -> list[str]:
        (folder / timing_file(FACTS, 0)).write_bytes(b"measured before")
        return [f"for {device.module}"]

    def keep(self, facts: TimingFacts, given: Path, cache: Path) -> list[str]:
        if self.error is not None:
            raise self.error
        self.kept.append((facts, [path.name for path in given.iterdir()], cache.read_bytes()))
        return ["kept"]


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    (found,) = engine_specs(tmp_path / "fleet", "fp32")
    return dataclasses.replace(found, job=dataclasses.replace(found.job, backend="tensorrt", device=NANO))


def keep(spec: EngineSpec, caches: Memory, tmp_path: Path, extra: dict[str, Any]) -> list[str]:
    given, result = tmp_path / "timing", tmp_path / "result"
    if not given.is_dir():
        fetch_timings(caches, spec, given)
    result.mkdir(exist_ok=True)
    (result / TIMING_CACHE_FILE).write_bytes(b"measured now")
    report = dataclasses.replace(report_of(identity_of(spec.key)), extra=extra)
    return keep_timings(caches, spec, report, given, result)


def test_what_was_measured_before_is_in_the_job(spec: EngineSpec, tmp_path: Path) -> None:
    assert fetch_timings(Memory(), spec, tmp_path / "timing") == ["for p3767-0003"]
    buffer = BytesIO()
    assert spec.source_path is not None
    write_inputs(spec, spec.source_path, buffer, timings=tmp_path / "timing")
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        file = tar.extractfile(f"timing/{timing_file(FACTS, 0)}")
        assert file is not None
        assert file.read() == b"measured before"


def test_what_was_measured_now_is_kept_under_the_builder_s_own_facts(spec: EngineSpec, tmp_path: Path) -> None:
    caches = Memory()
    assert keep(spec, caches, tmp_path, {"timing_cache": {"facts": to_dict(FACTS)}}) == ["kept"]
    assert caches.kept == [(FACTS, [timing_file(FACTS, 0)], b"measured now")]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"module": "p3767-0001"}, "module p3767-0001, not p3767-0003"),
        ({"sm_count": 4}, "sm_count 4, not 8"),
        ({"tensorrt": "8.6.2.3"}, "tensorrt 8.6.2.3, not 10.3.0"),
    ],
)
def test_timings_of_another_device_are_not_kept(
    spec: EngineSpec, tmp_path: Path, facts: dict[str, Any], said: str
) -> None:
    caches = Memory()
    (note,) = keep(spec, caches, tmp_path, {"timing_cache": {"facts": {**to_dict(FACTS), **facts}}})
    assert said in note
    assert caches.kept == []


@pytest.mark.parametrize("extra", [{}, {"timing_cache": None}, {"timing_cache": {"facts": {"module": 3}}}])
def test_a_report_that_does_not_say_whose_timings_they_are(
    spec: EngineSpec, tmp_path: Path, extra: dict[str, Any]
) -> None:
    caches = Memory()
    (note,) = keep(spec, caches, tmp_path, extra)
    assert "does not say what it belongs to" in note
    assert caches.kept == []


def test_a_disk_that_fails_is_a_note(spec: EngineSpec, tmp_path: Path) -> None:
    caches = Memory()
    caches.error = OSError(28, "No space left on device")
    (note,) = keep(spec, caches, tmp_path, {"timing_cache": {"facts": to_dict(FACTS)}})
    assert note == "the timing cache was not kept: [Errno 28] No space left on device"


def test_other_backends_have_none(spec: EngineSpec, tmp_path: Path) -> None:
    caches = Memory()
    plain = dataclasses.replace(spec, job=dataclasses.replace(spec.job, backend="onnxruntime"))
    assert fetch_timings(caches, plain, tmp_path / "timing") == []
    assert list((tmp_path / "timing").iterdir()) == []
    assert keep(plain, caches, tmp_path, {"timing_cache": {"facts": to_dict(FACTS)}}) == []
    assert fetch_timings(None, spec, tmp_path / "more") == []
