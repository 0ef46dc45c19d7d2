"""Transport settings from the largest message, and what is told where they cannot be."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.contract.node.runtime_config import InputBinding, ModelRuntime, OutputBinding, RuntimeConfig
from runtime.health.process.transport import (
    MAX_SEGMENT,
    MIB,
    PROFILE_VARIABLES,
    Sizes,
    full,
    malloc,
    prepare,
    profile,
    sizes,
    too_small,
)

BASE = Path(__file__).parents[3] / "images/runtime/fastdds.xml"


def config(width: int, height: int, encoding: str = "rgb8") -> RuntimeConfig:
    camera = InputBinding("x", "/camera", "sensor_msgs/msg/Image", encoding, height, width)
    scan = replace(camera, height=0, width=0, type="sensor_msgs/msg/LaserScan")
    return RuntimeConfig((ModelRuntime("m", "fp32", "sha256:k", (camera, scan), ()),))


def test_a_segment_holds_four_of_the_largest_messages_within_bounds() -> None:
    assert sizes(config(640, 480)) == Sizes(640 * 480 * 3 + 4096, 16 * MIB)
    assert sizes(config(1920, 1080)).segment == 24 * MIB
    assert sizes(config(1920, 1080, "mono8")).segment == 16 * MIB
    assert sizes(config(8192, 8192)).segment == MAX_SEGMENT
    assert sizes(RuntimeConfig(())) == Sizes(0, 16 * MIB)


def test_the_images_own_profile_is_written_with_the_sizes() -> None:
    text = profile(BASE.read_text(), sizes(config(1920, 1080)))
    assert text is not None
    assert re.findall(r"<(segment_size|maxMessageSize)>(\d+)<", text) == [
        ("segment_size", str(24 * MIB)), ("maxMessageSize", str(6 * MIB)),
    ]  # fmt: skip
    assert text.count("<intraprocess_delivery>OFF</intraprocess_delivery>") == 1
    assert profile("<dds></dds>", sizes(config(640, 480))) is None


def test_malloc_keeps_the_buffers_of_the_largest_message() -> None:
    small, large = malloc(sizes(config(640, 480))), malloc(sizes(config(4096, 3072)))
    assert small["MALLOC_MMAP_THRESHOLD_"] == str(64 * MIB)
    assert int(large["MALLOC_MMAP_THRESHOLD_"]) > 4 * 4096 * 3072 * 3


def test_the_executor_is_pointed_to_the_file_and_a_foreign_profile_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "sized.xml"
    before = {"FASTDDS_DEFAULT_PROFILES_FILE": str(BASE), "MALLOC_TOP_PAD_": "1", "HOME": "/tmp"}
    environment, _ = prepare(config(1920, 1080), before, place)
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == str(place)
    assert environment["MALLOC_TOP_PAD_"] == str(16 * MIB)
    assert "MALLOC_MMAP_THRESHOLD_" not in environment  # by hand, without the image's settings: left alone
    assert str(24 * MIB) in place.read_text()
    own = tmp_path / "own.xml"
    own.write_text("<dds></dds>")
    environment, told = prepare(config(640, 480), {"FASTDDS_DEFAULT_PROFILES_FILE": str(own)}, place)
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == str(own)
    assert "its sizes are left alone (the largest message has 925696 bytes" in told
    assert "leaseDuration" not in told
    driver = config(640, 480)
    commands = (OutputBinding("y", "~/cmd_vel", "velocity"),)
    driver = replace(driver, models=tuple(replace(model, outputs=commands) for model in driver.models))
    _, told = prepare(driver, {"FASTDDS_DEFAULT_PROFILES_FILE": str(own)}, place)
    assert "it sets no leaseDuration: a publisher of commands that died counts" in told
    own.write_text("<dds><leaseDuration></leaseDuration></dds>")
    assert "leaseDuration" not in prepare(driver, {"FASTDDS_DEFAULT_PROFILES_FILE": str(own)}, place)[1]
    _, told = prepare(config(640, 480), {"FASTDDS_DEFAULT_PROFILES_FILE": str(tmp_path / "none.xml")}, place)
    assert "none.xml: No such file" in told


def test_shared_memory_that_is_too_small_is_told_with_both_numbers(tmp_path: Path) -> None:
    assert too_small(Sizes(1, 1), str(tmp_path)) == ""
    assert "a camera and this node need 2147483648 MiB" in too_small(Sizes(1, 1 << 50), str(tmp_path))
    assert "cannot go through shared memory" in too_small(Sizes(1, 1), str(tmp_path / "none"))


def test_shared_memory_is_full_when_there_is_no_room_for_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.statvfs(tmp_path)
    assert full(str(tmp_path / "none")) == ""
    for pages, said in (
        (256, ""),
        (255, "is full (1020 KiB free, at least 1024 KiB are needed): remove what fills it"),
    ):
        fields = list(found)
        fields[1], fields[4] = 4096, pages  # f_frsize, f_bavail
        monkeypatch.setattr(os, "statvfs", lambda _, fields=fields: os.statvfs_result(fields))
        told = full(str(tmp_path))
        assert said in told
        assert bool(told) == bool(said)


def test_without_a_profile_fast_dds_stays_as_it_is_but_for_its_short_cut(tmp_path: Path) -> None:
    place = tmp_path / "stock.xml"
    environment, _ = prepare(config(640, 480), {"HOME": "/tmp"}, place)
    assert {environment[name] for name in PROFILE_VARIABLES} == {str(place)}
    written = place.read_text()
    assert "<intraprocess_delivery>OFF</intraprocess_delivery>" in written
    assert "transport" not in written
    assert _lease(written) == _lease(BASE.read_text()) == 2.0, "whoever commands a robot is forgotten as soon"
    environment, told = prepare(config(640, 480), {"HOME": "/tmp"}, tmp_path / "none" / "stock.xml")
    assert environment == {"HOME": "/tmp"}
    assert "transport is not tested" in told


def _lease(text: str) -> float:
    """Seconds after which a participant of this profile is forgotten."""
    found = re.search(r"<leaseDuration>\s*<sec>(\d+)</sec>\s*<nanosec>(\d+)</nanosec>\s*</leaseDuration>", text)
    assert found is not None
    return int(found[1]) + int(found[2]) / 1e9
