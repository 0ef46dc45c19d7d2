"""Power in the manifest: what is refused, and what robot and container are told."""

# ruff: noqa: E501

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.manifest.inherit import Inheritance
from fleet.manifest.load import load_manifest
from fleet.manifest.schema.manifest_schema import Profile, Robot, Settings
from fleet.manifest.schema.power_schema import Power
from fleet.resolve.documents.power import power_environment, power_policy
from runtime.contract.codec import from_json
from runtime.contract.robot.power import ENV_POWER, GovernorSettings, PowerPolicy
from tests.fakes.fleet_folder import write_fleet
from tests.unit.manifest.texts import FLEET, JETSON, MODEL, line_of, problems_of

NX = JETSON.replace("p3767-0003", "p3767-0000").replace(
    "[15W, 25W, MAXN_SUPER]",
    "[10W, 15W, 25W, 40W, MAXN_SUPER]\nsm_count_by_mode: {10W: 4, 15W: 4, 25W: 8, 40W: 8, MAXN_SUPER: 8}",
)

CASES = [
    ("power_mode: 25W, power: {modes: [25W, 70W]}", "power/modes/1", "has no power mode 70W", "40W"),
    ("power_mode: 25W, power: {modes: [15W, 25W]}", "power/modes/0", "15W leaves 4 SMs, but engines of profile sim-x86 are for 8", "25W, 40W, MAXN_SUPER"),
    ("power_mode: 25W, power: {modes: [25W, 25W]}", "power/modes", "named twice", "once"),
    ("power_mode: 25W, power: {modes: [40W, 25W]}", "power/modes", "not slowest first: 40W, 25W", "[25W, 40W]"),
    ("power_mode: 25W, power: {modes: [MAXN_SUPER, 25W]}", "power/modes", "not slowest first", "[25W, MAXN_SUPER]"),
    ("power: {modes: [25W, 40W]}", "power/modes", "without power_mode", "power_mode: 25W"),
    ("power_mode: MAXN_SUPER, power: {modes: [25W, 40W]}", "power/modes", "MAXN_SUPER is not among", "add MAXN_SUPER"),
    ("power_mode: 25W, power: {modes: ['2 5W']}", "power/modes/0", "not a valid", "nvpmodel -q"),
    ("power_mode: 25W, power: {modes: 25W}", "power/modes", "a list is expected", "[25W]"),
    ("power: {essential: [detektor]}", "power/essential/0", "no model called detektor runs", "detector?"),
    ("power: {lighter: [detektor]}", "power/lighter/0", "no model called detektor runs", "detector?"),
    ("power: {lighter: [detector]}", "power/lighter/0", "detector has no fallback engine", "precision"),
    ("power: {mode: 25W}", "power/mode", "unknown key", "modes?"),
    ("power: {governor: {hot: 90, critical: 88}}", "power/governor", "critical (88) is not above hot (90)", "hot < critical"),
    ("power: {governor: {idle: 95%}}", "power/governor", "idle (95%) is not below busy (90%)", "idle < busy"),
    ("power: {governor: {hot: 200}}", "power/governor/hot", "out of range", "at most 105"),
    ("power: {governor: {worse_after: 10}}", "power/governor/worse_after", "not a duration", "unit"),
    ("power: {governor: {better_after: 1s}}", "power/governor/better_after", "out of range", "at least 10"),
    ("power: {governor: {rate_steps: [25%, 50%]}}", "power/governor/rate_steps", "are not decreasing", "decreasing shares"),
    ("power: {governor: {rate_steps: [50%, 0%]}}", "power/governor/rate_steps", "are not decreasing", "0%"),
    ("power: {governor: {rate_steps: [0.5]}}", "power/governor/rate_steps/0", "not a percentage", "95%"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "path", "says", "hint"), CASES, ids=[case[2] for case in CASES])
@pytest.mark.parametrize("level", ["defaults", "groups/amr", "robots/0"])
def test_says_where_what_and_what_to_do(
    level: str, written: str, path: str, says: str, hint: str, tmp_path: Path
) -> None:
    old = {
        "defaults": "user: jetson}",
        "groups/amr": "labels: {site: hall-1}",
        "robots/0": "host: 10.0.0.11, group: amr}",
    }
    added = {
        "defaults": f"user: jetson, {written}}}",
        "groups/amr": f"labels: {{site: hall-1}}\n    {written.replace(', power:', chr(10) + '    power:')}",
        "robots/0": f"host: 10.0.0.11, group: amr, {written}}}",
    }[level]
    text = FLEET.replace(old[level], added)
    assert text != FLEET
    problems = problems_of(tmp_path, fleet=text, profile=NX)
    found = [problem for problem in problems if problem.path == f"{level}/{path}" and says in problem.message]
    assert len(found) == 1, "\n".join(map(str, problems))
    assert hint in found[0].hint
    assert found[0].line == line_of(text, written.rpartition("power:")[2])


def test_a_model_is_lighter_by_its_fallback_or_essential_not_both(tmp_path: Path) -> None:
    uses = "models: [{model: detector, precision: fp32, fallback: {precision: fp16}}]"
    text = FLEET.replace("models: [{model: detector, precision: fp32}]", uses)
    good = text.replace("user: jetson}", "user: jetson, power: {lighter: [detector]}}").replace(
        "{model: detector, precision: fp16}]}", "{model: detector, precision: fp16, fallback: {precision: fp32}}]}"
    )
    write_fleet(tmp_path / "good", fleet_text=good, profile_text=NX, model_text=MODEL)
    assert load_manifest(tmp_path / "good").manifest.defaults.power == Power(lighter=("detector",))
    both = good.replace("lighter: [detector]", "lighter: [detector], essential: [detector]")
    (problem,) = problems_of(tmp_path / "both", fleet=both, profile=NX)
    assert "essential too" in problem.message


# ── what comes of it ──

PROFILE = Profile(
    name="nx", platform="linux/arm64", backend="tensorrt", base_image="x", ros_distro="humble", module="p3767-0000",
    l4t="36.4.3", tensorrt="10.3.0.30", cuda="12.6", sm_count=8, power_modes=("25W", "40W"),
)  # fmt: skip
SIM = Profile(name="sim", platform="linux/amd64", backend="onnxruntime", base_image="x", ros_distro="humble")


def policy(profile: Profile = PROFILE, **keys: Any) -> PowerPolicy | None:
    settings = Inheritance(Settings.model_validate(keys), {}).of(Robot(name="r", host="h"))
    found = power_policy(settings, profile)
    text = power_environment(settings, profile)
    assert found == (from_json(PowerPolicy, text[ENV_POWER]) if text else None)
    return found


def test_a_robot_that_says_nothing_is_left_alone() -> None:
    assert policy() is None
    assert policy(SIM, power_mode="25W") is None
    assert policy(SIM, power={"governor": {"enabled": False}}) is None


def test_a_mode_alone_is_set_and_not_governed() -> None:
    assert policy(power_mode="25W") == PowerPolicy("25W", ("25W",), 8)
    off = {"modes": ["25W", "40W"], "governor": {"enabled": False}}
    assert policy(power_mode="25W", power=off) == PowerPolicy("25W", ("25W", "40W"), 8)


def test_every_key_arrives() -> None:
    governor = {
        "hot": 80, "critical": 90, "hysteresis": 4, "over_current_per_minute": 3, "busy": "80%", "idle": "20%",
        "worse_after": "5s", "better_after": "2m", "rate_steps": ["60%", "30%"],
    }  # fmt: skip
    power = {"modes": ["25W", "40W"], "essential": ["planner"], "lighter": ["signs"], "governor": governor}
    expected = GovernorSettings(80.0, 90.0, 4.0, 3.0, 0.8, 0.2, 5.0, 120.0, (0.6, 0.3))
    assert policy(power_mode="25W", power=power) == PowerPolicy(
        "25W", ("25W", "40W"), 8, ("planner",), expected, ("signs",)
    )


def test_a_machine_without_modes_still_takes_frames() -> None:
    assert policy(SIM, power_mode="25W", power={"modes": ["25W"]}) == PowerPolicy(governor=GovernorSettings())
    assert policy(power={}) == PowerPolicy(sm_count=8, governor=GovernorSettings())


def test_the_defaults_of_the_manifest_are_those_of_the_runtime() -> None:
    assert policy(SIM, power={}) == PowerPolicy(governor=GovernorSettings())


def test_the_nearest_level_is_taken_whole() -> None:
    far = Settings(power=Power(modes=("25W", "40W"), essential=("a",)), power_mode="25W")
    inheritance = Inheritance(far, {"g": Settings(power=Power(modes=("25W",)))})
    assert inheritance.of(Robot(name="r", host="h", group="g")).power == Power(modes=("25W",))
    assert inheritance.of(Robot(name="r", host="h")).power == far.power
