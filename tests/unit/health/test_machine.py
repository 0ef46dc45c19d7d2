"""procfs and sysfs trees: three generations of Jetson, a machine that offers nothing, and files that misbehave."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from runtime.contract.node.health import Space, SystemHealth
from runtime.health.process.shared_memory import remove_leftovers
from runtime.health.sources.files import read_int, read_text
from runtime.health.sources.hwmon import MAX_RAILS
from runtime.health.sources.machine import LOOK_AGAIN_S, RATE_WINDOW_S, EventRates, Machine
from runtime.health.sources.thermal import MAX_ZONES
from tests.fakes.robots.machine_tree import GENERATIONS, write_machine


def machine(tmp_path: Path, name: str) -> Machine:
    return Machine(write_machine(tmp_path, name), {"/": tmp_path})


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text + "\n")


def test_orin_on_l4t_35(tmp_path: Path) -> None:
    sample = machine(tmp_path, "l4t-35").sample()
    assert sample.temperatures_c == {"CPU-therm": 47.906, "GPU-therm": 45.25, "tj-therm": 47.906}
    assert (sample.throttling, sample.throttled_by) == (False, ())
    assert (sample.gpu_load, sample.gpu_clock_hz, sample.gpu_clock_max_hz) == (0.611, 408_000_000, 408_000_000)
    assert sample.power_rails_w == {"VDD_IN": 5.3, "VDD_CPU_GPU_CV": 1.8}
    assert sample.power_w == 5.3
    assert sample.overcurrent_events == {"oc1": 0, "oc2": 0, "oc3": 37}
    assert sample.overcurrent_throttles == {"oc3": True}
    assert sample.emc_clock_hz is None
    assert sample.cpu_clocks_hz == {"policy0": 1_497_600_000, "policy4": 729_600_000}
    assert sample.cpus_online == 8
    assert sample.gpu_memory_bytes == 805068 * 1024
    assert sample.fan_duty == pytest.approx(88 / 255)
    assert sample.fan_rpm is None


def test_orin_on_l4t_36_that_is_throttled(tmp_path: Path) -> None:
    sample = machine(tmp_path, "l4t-36").sample()
    assert sample.temperatures_c == {
        "cpu-thermal": 96.031, "gpu-thermal": 99.281, "soc0-thermal": 94.125, "tj-thermal": 99.281,
    }  # fmt: skip
    assert (sample.throttling, sample.throttled_by) == (True, ("gpu-throttle-alert",))
    assert (sample.gpu_load, sample.gpu_clock_hz, sample.gpu_clock_max_hz) == (0.987, 918_000_000, 1_020_000_000)
    assert sample.power_rails_w == pytest.approx({"VDD_IN": 20.4344, "VDD_CPU_GPU_CV": 10.9648, "VDD_SOC": 3.4888})
    assert sample.power_w == pytest.approx(20.4344)
    assert sample.overcurrent_events == {"oc1": 0, "oc2": 15, "oc3": 27390}
    assert sample.cpu_clocks_max_hz == {"policy0": 1_728_000_000}
    assert sample.cpus_online == 5
    assert (sample.swap_total_bytes, sample.swap_free_bytes) == (3901952 * 1024, 1000000 * 1024)
    assert (sample.fan_duty, sample.fan_rpm) == (1.0, 2140)
    assert (sample.memory_total_bytes, sample.memory_available_bytes) == (7803904 * 1024, 350000 * 1024)
    assert sample.load_1m == 7.29


def test_orin_on_l4t_39_whose_gpu_is_not_in_devfreq(tmp_path: Path) -> None:
    sample = machine(tmp_path, "l4t-39").sample()
    assert (sample.gpu_load, sample.gpu_clock_hz, sample.gpu_clock_max_hz) == (0.0, 306_000_000, 612_000_000)
    assert sample.power_w == pytest.approx(3.581424)
    assert sample.overcurrent_events == {"oc1": 0, "oc2": 0, "oc3": 0}
    assert sample.gpu_memory_bytes is None
    assert sample.cpus_online == 6
    assert (sample.fan_duty, sample.fan_rpm) == (None, None)


def test_a_gpu_that_appears_late_is_found(tmp_path: Path) -> None:
    reader = Machine(tmp_path, {})
    assert reader.sample(0.0).gpu_load is None
    write(tmp_path, "sys/devices/platform/gpu.0/load", "500")
    assert reader.sample(LOOK_AGAIN_S - 1).gpu_load is None
    assert reader.sample(LOOK_AGAIN_S).gpu_load == 0.5


def test_the_memory_controller_of_devfreq_needs_no_root(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/devfreq/bwmgr/cur_freq", "2133000000")
    assert Machine(tmp_path, {}).sample().emc_clock_hz == 2_133_000_000


def test_nothing_there_is_nothing_said(tmp_path: Path) -> None:
    assert Machine(tmp_path, {"/": tmp_path / "gone"}).sample() == SystemHealth()


@pytest.mark.parametrize("name", GENERATIONS)
@pytest.mark.parametrize("content", ["", "N/A", "\0", "12 34", "0x10", "-"])
def test_no_file_that_misbehaves_stops_the_rest(tmp_path: Path, name: str, content: str) -> None:
    """Every file in turn holds what it should not; the others are still read."""
    write_machine(tmp_path, name)
    well = Machine(tmp_path, {}).sample(0.0)
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()):
        before = path.read_text()
        path.write_text(content)
        found = Machine(tmp_path, {}).sample(0.0)
        if path.name != "temp":
            assert found.temperatures_c.values() or not well.temperatures_c
        path.write_text(before)
    assert Machine(tmp_path, {}).sample(0.0) == well


def test_a_file_that_is_not_ready_is_left_out(tmp_path: Path) -> None:
    """What a Jetson's zone of a powered-off engine does: read() answers EAGAIN. So does an empty pipe."""
    os.mkfifo(tmp_path / "temp")
    writer = os.open(tmp_path / "temp", os.O_RDWR)
    try:
        assert read_text(tmp_path / "temp") is None
        os.write(writer, b"48500\n")
        assert read_int(tmp_path / "temp") == 48500
    finally:
        os.close(writer)


def test_zones_and_rails_are_bounded_and_the_rest_is_counted(tmp_path: Path) -> None:
    for index in range(MAX_ZONES + 10):
        write(tmp_path, f"sys/class/thermal/thermal_zone{index}/type", f"zone-{index}")
        write(tmp_path, f"sys/class/thermal/thermal_zone{index}/temp", "40000")
    write(tmp_path, "sys/class/hwmon/hwmon0/name", "ina3221")
    for channel in range(10, 13 + MAX_RAILS):
        write(tmp_path, f"sys/class/hwmon/hwmon0/in{channel}_label", f"RAIL{channel}")
        for kind in ("in", "curr"):
            write(tmp_path, f"sys/class/hwmon/hwmon0/{kind}{channel}_input", "1000")
    sample = Machine(tmp_path, {}).sample()
    assert len(sample.temperatures_c) == MAX_ZONES
    assert len(sample.power_rails_w) == MAX_RAILS
    assert sample.left_out == 10 + 3


def test_zones_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for index in (0, 10):
        write(tmp_path, f"sys/class/thermal/thermal_zone{index}/type", "acpitz")
        write(tmp_path, f"sys/class/thermal/thermal_zone{index}/temp", f"{40 + index}000")
    assert Machine(tmp_path, {}).sample().temperatures_c == {"acpitz": 40.0, "acpitz-thermal_zone10": 50.0}


def test_events_become_a_rate_over_the_last_minute() -> None:
    rates = EventRates()
    assert rates.per_second({"oc3": 1000}, 0.0) == {}
    assert rates.per_second({"oc3": 1020}, 2.0) == {"oc3": 10.0}
    for now in range(4, 200, 2):
        last = rates.per_second({"oc3": 1020}, float(now))
    assert last == {"oc3": 0.0}
    assert rates.per_second({"oc3": 1080}, 200.0)["oc3"] == pytest.approx(60 / RATE_WINDOW_S)


def test_a_counter_that_goes_back_begins_again() -> None:
    rates = EventRates()
    rates.per_second({"oc3": 1000}, 0.0)
    assert rates.per_second({"oc3": 4}, 2.0) == {}
    assert rates.per_second({"oc3": 8}, 4.0) == {"oc3": 2.0}
    assert rates.per_second({}, 6.0) == {}


def test_volumes_are_told_once_each(tmp_path: Path) -> None:
    places = {"/": tmp_path, "/same": tmp_path, "/dev/shm": Path("/dev/shm"), "/gone": tmp_path / "gone"}
    disks = Machine(tmp_path, places).sample().disks
    assert set(disks) <= {"/", "/dev/shm"}
    assert isinstance(disks["/"], Space)
    assert 0 < disks["/"].free_bytes <= disks["/"].total_bytes


def leftover(folder: Path, name: str, size: int = 8192) -> Path:
    (folder / name).write_bytes(b"x" * size)
    lock = folder / f"{name}_el"
    lock.touch()
    past = time.time() - 60
    os.utime(lock, (past, past))
    return lock


def test_only_segments_and_ports_that_nobody_holds_are_removed(tmp_path: Path) -> None:
    leftover(tmp_path, "fastdds_0123456789abcdef")
    leftover(tmp_path, "fastrtps_0123456789abcdef")
    held = leftover(tmp_path, "fastdds_aaaaaaaaaaaaaaaa")
    young = leftover(tmp_path, "fastdds_bbbbbbbbbbbbbbbb")
    os.utime(young)
    leftover(tmp_path, "somebody_elses")
    leftover(tmp_path, "fastdds_port7411")
    served = leftover(tmp_path, "fastdds_port7413")
    for port in ("7411", "7413"):
        (tmp_path / f"sem.fastdds_port{port}_mutex").touch()
    before = {path.name for path in tmp_path.iterdir()}
    with held.open("rb") as owner, served.open("rb") as reader:
        fcntl.flock(owner, fcntl.LOCK_EX)
        fcntl.flock(reader, fcntl.LOCK_EX)
        assert remove_leftovers(tmp_path) == 3 * 8192
    gone = before - {path.name for path in tmp_path.iterdir()}
    segments = {f"{kind}_0123456789abcdef{end}" for kind in ("fastdds", "fastrtps") for end in ("", "_el")}
    assert gone == segments | {"fastdds_port7411", "fastdds_port7411_el", "sem.fastdds_port7411_mutex"}


def test_no_shared_memory_folder_is_fine(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "gone") == 0
