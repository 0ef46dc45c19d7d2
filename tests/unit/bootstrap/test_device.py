"""What a device says of itself, which profile fits it, and what is missing on it."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from fleet.bootstrap.device_check import device_notes, device_problems, fitting_profile, unsupported
from fleet.bootstrap.device_probe import PROBE, DeviceReport, device_from_probe
from fleet.resolve.shipped_profiles import shipped_profiles
from tests.fakes.robots.jetson_files import DEVICES, NANO, NX, Recorded, probe_at, write_device


def asked(root: Path, device: Recorded, **changes: int) -> DeviceReport:
    """Run the probe itself on the files of a device."""
    write_device(root, device, **changes)
    done = subprocess.run(["sh", "-c", probe_at(root, PROBE)], capture_output=True, text=True, timeout=60, check=True)
    return device_from_probe(done.stdout)


def profile(device: DeviceReport) -> str | None:
    found = fitting_profile(device, (each.profile for each in shipped_profiles().values()))
    return found.name if found else None


def test_a_nano_says_all_that_a_first_fleet_needs(tmp_path: Path) -> None:
    device = asked(tmp_path, NANO)
    assert (device.module, device.l4t, device.tensorrt, device.cuda) == ("p3767-0003", "36.4.3", "10.3.0.30", "12.6")
    assert [(mode.name, mode.sm_count) for mode in device.modes] == [("15W", 8), ("25W", 8), ("MAXN_SUPER", 8)]
    assert device.mode is not None
    assert (device.mode.name, device.sm_count, device.machine) == ("25W", 8, "aarch64")
    assert "nvidia" in device.runtimes
    assert device.ros == ("humble",)
    assert device.cameras == (
        ("/camera/color/image_raw", "sensor_msgs/msg/Image"),
        ("/camera/compressed", "sensor_msgs/msg/CompressedImage"),
    )
    assert profile(device) == "orin-nano-8gb-jp62"
    found = shipped_profiles()["orin-nano-8gb-jp62"].profile
    assert device_problems(device, found, "15W") == []
    assert device_notes(device, found) == []


def test_an_nx_in_a_small_power_mode_is_told_which_mode_to_take(tmp_path: Path) -> None:
    device = asked(tmp_path, NX, free_kib=2_000_000)
    assert (device.l4t, device.tensorrt, device.sm_count) == ("39.2.0", "10.16.2.10", 4)
    assert profile(device) == "orin-nx-16gb-jp72"
    problems = device_problems(device, shipped_profiles()["orin-nx-16gb-jp72"].profile, None)
    said = {problem.what: problem.do for problem in problems}
    assert len(said) == 3
    runtime, power, disk = said.items()
    assert "no runtime `nvidia`" in runtime[0]
    assert "nvidia-ctk runtime configure" in runtime[1]
    assert "4 SMs are on (power mode 15W)" in power[0]
    assert "sudo nvpmodel -m 4   # 40W" in power[1]
    assert "/var/lib/docker has 1.9 GiB free" in disk[0]


def test_a_jetpack_5_board_is_refused_with_what_to_flash(tmp_path: Path) -> None:
    device = asked(tmp_path, DEVICES["jetpack-5"])
    never = unsupported(device)
    assert never is not None
    assert "L4T 35.4.1 (JetPack 5" in never.what
    assert "flash JetPack 6.2 or 7.2" in never.do
    assert profile(device) is None
    found = shipped_profiles()["orin-nx-16gb-jp62"].profile
    assert device_problems(device, found, None) == [never]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"compatible": ("nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005")}, "its module is p3701-0005"),
        ({"compatible": ()}, "its module is not known"),
        ({"release": "# R38 (release), REVISION: 2.0, GCID: 1"}, "L4T 38.2.0 is in no line"),
        ({"release": "# R38 (release), REVISION: 2, GCID: 1"}, "L4T 38.2 is in no line"),
        ({"release": "", "packages": {}}, "does not say its L4T release"),
    ],
)
def test_devices_that_no_profile_can_be_for(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    device = asked(tmp_path, dataclasses.replace(NANO, **changes))  # type: ignore[arg-type]
    never = unsupported(device)
    assert never is not None
    assert says.removesuffix(".0") in never.what or says in never.what
    assert profile(device) is None


def test_the_developer_kits_module_takes_the_nanos_profile(tmp_path: Path) -> None:
    kit = dataclasses.replace(NANO, compatible=("nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005"))
    assert profile(asked(tmp_path, kit)) == "orin-nano-8gb-jp62"


def test_what_is_missing_says_nothing_and_is_never_guessed(tmp_path: Path) -> None:
    device = asked(tmp_path, dataclasses.replace(NANO, packages={}, cuda="{", ros="", runtimes="", modes=NANO.modes))
    (tmp_path / "etc/nvpmodel.conf").unlink()
    assert (device.tensorrt, device.cuda, device.ros, device.cameras) == (None, None, (), ())
    assert device_from_probe("").complete is False
    odd = "device=yes\nmodes_b64=%%%\ntpc_mask=many\nstore_kib=-1\nros=../x\ntopic=rm -rf sensor_msgs/msg/Image\n"
    found = device_from_probe(odd)
    assert (found.modes, found.sm_count, found.store_bytes, found.ros, found.cameras) == ((), None, None, (), ())


def test_another_module_than_the_profiles_is_said_with_both(tmp_path: Path) -> None:
    device = asked(tmp_path, NANO)
    problems = device_problems(device, shipped_profiles()["orin-nx-16gb-jp72"].profile, "40W")
    assert any("module is p3767-0003" in each.what and "p3767-0000" in each.what for each in problems)
    assert any("L4T 36.4.3" in each.what and "39.2" in each.what for each in problems)
    assert any("no power mode 40W (it has 15W, 25W, MAXN_SUPER)" in each.what for each in problems)


def test_every_profile_travels_and_none_names_a_lab() -> None:
    shipped = shipped_profiles()
    assert len(shipped) == 14
    for each in shipped.values():
        assert "jetfleet-lab" not in each.text + each.profile.base_image
        assert each.text.count("\nbuilder: {endpoint: ") == 1
