"""The profiles that come with jetfleet: every module on every L4T line, each in a fleet that uses it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fleet.errors import ManifestError
from fleet.manifest.load import load_manifest
from fleet.manifest.schema.manifest_schema import Profile
from runtime.contract.jetson import LINES, MODULES, line_of
from tests.fakes.fleet_folder import write_fleet

FOLDER = Path(__file__).resolve().parents[3] / "manifests" / "profiles"
JETSONS = sorted(path.stem for path in FOLDER.glob("orin-*.yaml"))


def load(name: str, folder: Path, power_mode: str | None = None) -> Profile:
    """Load a fleet whose robots all have the profile called ``name``."""
    use = {"profile": name} if power_mode is None else {"profile": name, "power_mode": power_mode}
    gates = {"latency_p99": {"sim-x86": None, name: "250ms"}}
    fleet = {"profiles": [f"profiles/{name}.yaml"], "defaults": use}
    write_fleet(folder, fleet=fleet, model={"gates": gates})
    (folder / "profiles" / f"{name}.yaml").write_bytes((FOLDER / f"{name}.yaml").read_bytes())
    return load_manifest(folder).profiles[name]


@pytest.mark.parametrize("name", JETSONS)
def test_a_fleet_can_use_it(name: str, tmp_path: Path) -> None:
    profile = load(name, tmp_path)
    line = line_of(profile.l4t)
    assert line is not None
    assert profile.name == name
    assert (profile.python, profile.ros_distro, profile.cuda) == (line.python, line.ros_distro, line.cuda)
    assert profile.tensorrt is not None
    assert profile.tensorrt.count(".") == 3
    assert set(profile.sm_count_by_mode) == set(profile.power_modes)


def test_every_module_on_every_line() -> None:
    found = [yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) for name in JETSONS]
    pairs = {(profile["module"], line_of(profile["l4t"]).name) for profile in found}  # type: ignore[union-attr]
    modules = set(MODULES) - {"p3767-0005"}  # the kit: its profile is a copy
    assert pairs == {(module, line) for module in modules for line in LINES}
    assert len(found) == len(pairs) == 12


@pytest.mark.parametrize("mode", ["10W", "15W"])
def test_a_mode_that_leaves_other_sms_is_refused_by_name(mode: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        load("orin-nx-16gb-jp62", tmp_path, mode)
    (problem,) = caught.value.problems
    assert problem.path == "defaults/power_mode"
    assert f"power mode {mode} leaves 4 SMs" in problem.message
    assert "for 8" in problem.message
    assert "25W, 40W, MAXN_SUPER" in problem.hint


def test_a_mode_that_leaves_all_sms_is_taken(tmp_path: Path) -> None:
    assert load("orin-nx-16gb-jp62", tmp_path, "25W").sm_count == 8
