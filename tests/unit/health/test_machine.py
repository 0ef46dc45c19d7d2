"""procfs and sysfs trees, whole and broken."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from runtime.health.shared_memory import remove_leftovers
from runtime.health.sources.machine import MAX_ZONES, Machine


def zone(root: Path, index: int, name: str, temperature: str) -> None:
    folder = root / f"sys/class/thermal/thermal_zone{index}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(name + "\n")
    (folder / "temp").write_text(temperature + "\n")


def test_a_jetson_like_tree(tmp_path: Path) -> None:
    for index, (name, value) in enumerate(
        [("cpu-thermal", "48500"), ("gpu-thermal", "46250"), ("cv0-thermal", "-256000")]
    ):
        zone(tmp_path, index, name, value)
    zone(tmp_path, 10, "cpu-thermal", "49000")
    zone(tmp_path, 11, "broken", "N/A")
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "meminfo").write_text(
        "MemTotal:  7990136 kB\nMemFree: 1 kB\nMemAvailable:  4000000 kB\nHugePages_Total: 0\n"
    )
    (proc / "loadavg").write_text("1.25 0.90 0.80 2/345 6789\n")
    sample = Machine(tmp_path, tmp_path).sample()
    assert sample.temperatures_c == {"cpu-thermal": 48.5, "gpu-thermal": 46.25, "cpu-thermal-thermal_zone10": 49.0}
    assert (sample.memory_total_bytes, sample.memory_available_bytes) == (7990136 * 1024, 4000000 * 1024)
    assert sample.load_1m == 1.25
    assert sample.disk_free_bytes is not None
    assert sample.disk_free_bytes > 0


def test_nothing_there_is_nothing_said(tmp_path: Path) -> None:
    sample = Machine(tmp_path, tmp_path / "gone").sample()
    assert sample.temperatures_c == {}
    assert sample.memory_total_bytes is sample.load_1m is sample.disk_free_bytes is None


def test_zones_are_bounded(tmp_path: Path) -> None:
    for index in range(MAX_ZONES + 10):
        zone(tmp_path, index, f"zone-{index}", "40000")
    assert len(Machine(tmp_path, tmp_path).sample().temperatures_c) == MAX_ZONES


def leftover(folder: Path, name: str, size: int = 8192) -> Path:
    (folder / name).write_bytes(b"x" * size)
    lock = folder / f"{name}_el"
    lock.touch()
    past = time.time() - 60
    os.utime(lock, (past, past))
    return lock


def test_only_segments_nobody_holds_are_removed(tmp_path: Path) -> None:
    leftover(tmp_path, "fastdds_0123456789abcdef")
    leftover(tmp_path, "fastrtps_0123456789abcdef")
    held = leftover(tmp_path, "fastdds_aaaaaaaaaaaaaaaa")
    young = leftover(tmp_path, "fastdds_bbbbbbbbbbbbbbbb")
    os.utime(young)
    leftover(tmp_path, "fastdds_port7411")
    leftover(tmp_path, "somebody_elses")
    before = {path.name for path in tmp_path.iterdir()}
    with held.open("rb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert remove_leftovers(tmp_path) == 2 * 8192
    gone = before - {path.name for path in tmp_path.iterdir()}
    assert gone == {f"{kind}_0123456789abcdef{end}" for kind in ("fastdds", "fastrtps") for end in ("", "_el")}


def test_no_shared_memory_folder_is_fine(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "gone") == 0
