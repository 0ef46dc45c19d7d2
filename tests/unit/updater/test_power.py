"""The host's side of power: which mode is set, for whom, how long, and what is said when it cannot be."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.contract.codec import canonical_json
from runtime.contract.robot.power import ENV_POWER, GovernorSettings, PowerAnswer, PowerPolicy
from runtime.updater.power import nvpmodel
from runtime.updater.power.mode_keeper import LEASE_S, RETRY_S, VERIFY_S, CurrentRules, PowerKeeper, Rules
from runtime.updater.power.nvpmodel import NeedsReboot, Nvpmodel
from runtime.updater.state.release_folder import files_of, target_of
from runtime.updater.state.world import Links, WorldError
from runtime.updater.transaction.update_state import Rejected, power_lines
from tests.fakes.nvpmodel import Jetson
from tests.fakes.robots.robot_world import FakeWorld, order

POLICY = PowerPolicy("25W", ("25W", "40W", "MAXN_SUPER"), sm_count=8, governor=GovernorSettings())


class Site:
    """A keeper on a machine of its own, with a clock and rules that the test moves."""

    def __init__(self, folder: Path, policy: PowerPolicy | None = POLICY, **machine: str) -> None:
        self.jetson = Jetson(folder, **machine)
        self.now, self.rules, self.said = 1000.0, Rules("aaa", policy), [""]
        self.keeper = PowerKeeper(Nvpmodel(self.jetson.root), lambda: self.rules, self.said.append, lambda: self.now)

    def ask(self, want: str, after: float = 1.0) -> PowerAnswer:
        self.now += after
        return self.keeper.ask(want, "busy", "user 1000 (process 7)")

    def pulse(self, after: float = 0.0) -> PowerAnswer:
        self.now += after
        self.keeper.pulse()
        return self.keeper.status()


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


@pytest.fixture
def site(tmp_path: Path, path: None) -> Site:
    return Site(tmp_path)


# ── the tool ──


def test_sets_by_name_and_verifies(site: Site) -> None:
    answer = site.ask("40W")
    assert answer == PowerAnswer("40W", "40W", True, changes=1)
    assert site.jetson.calls == ["-q", "-m 4", "-q"]
    assert site.said[-1] == "power: 25W -> 40W, verified; asked for by user 1000 (process 7): busy"


def test_the_mode_that_is_set_already_is_not_set_again(site: Site) -> None:
    site.jetson.habit("asks")  # as some boards do, whatever the mode
    assert site.ask("25W") == PowerAnswer("25W", "25W", True)
    assert site.jetson.sets() == []


def test_asking_again_costs_nothing_until_it_is_time_to_look(site: Site) -> None:
    site.ask("40W")
    calls = len(site.jetson.calls)
    for _ in range(5):
        site.ask("40W", 10.0)
    assert len(site.jetson.calls) == calls
    (site.jetson.bin / "mode").write_text("25W")  # somebody at the robot
    assert site.ask("40W", VERIFY_S).changes == 2
    assert site.jetson.mode == "40W"


def test_a_question_is_never_answered_with_yes(site: Site) -> None:
    site.jetson.habit("asks")
    answer = site.ask("40W")
    assert (answer.mode, answer.verified, answer.reboot_needed) == ("25W", False, ("40W",))
    assert "from 25W to 40W needs a reboot -> when the robot may reboot: `sudo nvpmodel -m 4`" in answer.problem
    assert not site.jetson.rebooted
    assert site.jetson.mode == "25W"
    assert site.jetson.sets() == ["-m 4"]
    assert site.ask("40W", 30.0).problem == answer.problem
    assert site.jetson.sets() == ["-m 4"]
    site.jetson.habit("")  # somebody confirmed the reboot by hand
    assert site.ask("40W", RETRY_S) == PowerAnswer("40W", "40W", True, changes=1)


def test_other_masks_and_cores_are_known_to_need_a_reboot_without_trying(tmp_path: Path, path: None) -> None:
    site = Site(tmp_path, PowerPolicy("10W", ("10W", "25W")), mode="10W")
    assert site.ask("25W").reboot_needed == ("25W",)
    assert site.jetson.sets() == []
    assert not site.jetson.rebooted
    assert site.ask("10W") == PowerAnswer("10W", "10W", True, ("25W",))


def test_the_stand_in_does_reboot_when_it_is_told_to(tmp_path: Path, path: None) -> None:
    """Or the tests above could not fail."""
    import subprocess

    jetson = Jetson(tmp_path, mode="10W")
    subprocess.run(["nvpmodel", "-m", "3"], input="yes\n", text=True, check=True, env={"PATH": str(jetson.bin)})
    assert jetson.rebooted
    with pytest.raises(NeedsReboot):
        Nvpmodel(jetson.root).set(Nvpmodel(jetson.root).modes()[3])


@pytest.mark.parametrize(
    ("habit", "says"),
    [
        ("fails", "nvpmodel -m 4 ended with 234: NVPM ERROR: Error opening /sys/kernel/nvpmodel_clk_cap/emc: 2"),
        ("lies", "nvpmodel accepted mode 40W but reports 25W afterwards"),
        ("chroot", "nvpmodel accepted mode 40W but reports 25W afterwards: Running in chroot, ignoring request."),
    ],
)
def test_a_tool_that_does_not_do_it_is_quoted(site: Site, habit: str, says: str) -> None:
    site.jetson.habit(habit)
    answer = site.ask("40W")
    assert not answer.verified
    assert answer.mode == "25W"
    assert answer.problem == f"{says} -> run it by hand: `sudo nvpmodel -q`, and see /etc/nvpmodel.conf"
    assert site.said[-1].startswith("power: cannot set 40W (asked for by user 1000 (process 7): busy): " + says)
    sets = len(site.jetson.sets())
    site.jetson.habit("")
    assert not site.ask("40W", RETRY_S - 10).verified
    assert len(site.jetson.sets()) == sets
    assert site.ask("40W", 20.0).verified


def test_a_tool_that_hangs_is_ended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvpmodel, "QUERY_S", 0.5)
    site.jetson.habit("hangs")
    assert "`nvpmodel -q` did not end within 0.5 s" in site.ask("40W").problem


def test_a_machine_without_the_tool_says_so(site: Site) -> None:
    (site.jetson.bin / "nvpmodel").unlink()
    problem = site.ask("40W").problem
    assert "cannot run nvpmodel" in problem
    assert "is this a Jetson?" in problem


def test_a_table_that_differs_from_the_profile(tmp_path: Path, path: None) -> None:
    site = Site(tmp_path, PowerPolicy("15W", ("15W", "70W"), sm_count=8), mode="25W")
    assert "this machine has no power mode 70W -> it has MAXN_SUPER, 10W, 15W, 25W, 40W" in site.ask("70W").problem
    assert "power mode 15W leaves 4 SMs, the engines were built for 8" in site.ask("15W").problem
    (site.jetson.root / "etc/nvpmodel.conf").unlink()
    assert "unknown" in site.ask("70W", RETRY_S + 1).problem
    assert site.jetson.sets() == []


# ── who may have what, and for how long ──


@pytest.mark.parametrize("want", ["10W", "15W", "", "4", "40W; reboot", "--force"])
def test_only_what_the_release_allows(site: Site, want: str) -> None:
    with pytest.raises(Rejected, match="does not allow power mode") as caught:
        site.ask(want)
    assert (caught.value.kind, caught.value.hint) == ("refused", "allowed are 25W, 40W, MAXN_SUPER")
    assert site.jetson.calls == []


def test_without_a_policy_nothing_is_touched(tmp_path: Path, path: None) -> None:
    site = Site(tmp_path, None)
    with pytest.raises(Rejected, match="does not allow"):
        site.ask("40W")
    assert site.pulse(10_000.0) == PowerAnswer()
    assert site.jetson.calls == []


def test_when_nobody_asks_any_more_the_manifests_mode_comes_back(site: Site) -> None:
    site.ask("40W")
    assert site.pulse(LEASE_S - 1).mode == "40W"
    assert site.pulse(2.0) == PowerAnswer("25W", "25W", True, changes=2)
    assert site.said[-1] == "power: 40W -> 25W, verified; the manifest's mode: no request for 121 s"
    assert site.ask("40W").mode == "40W"


def test_a_robot_without_a_governor_has_its_mode_at_once(tmp_path: Path, path: None) -> None:
    site = Site(tmp_path, replace(POLICY, mode="40W", modes=("40W",), governor=None))
    assert site.pulse() == PowerAnswer("40W", "40W", True, changes=1)
    calls = len(site.jetson.calls)
    site.pulse(30.0)
    assert len(site.jetson.calls) == calls


def test_another_release_is_another_story(site: Site) -> None:
    site.jetson.habit("asks")
    assert site.ask("40W").reboot_needed == ("40W",)
    site.jetson.habit("")
    site.rules = Rules("bbb", replace(POLICY, mode="40W", modes=("40W",), governor=None))
    assert site.pulse() == PowerAnswer("40W", "40W", True, changes=1)
    with pytest.raises(Rejected):
        site.ask("25W")
    site.rules = Rules()
    assert site.pulse().asked is None


def test_who_asks_meanwhile_is_not_kept_waiting(site: Site) -> None:
    inside: list[PowerAnswer] = []
    tool = site.keeper._tool
    current = tool.current

    def slow() -> str | None:
        if not inside:
            inside.append(site.keeper.ask("MAXN_SUPER", "", "root"))
            site.keeper.pulse()
        return current()

    tool.current = slow  # type: ignore[method-assign]
    assert site.ask("40W").mode == "40W"
    assert inside == [PowerAnswer()]


# ── the current release ──


def test_rules_are_those_of_the_current_release(tmp_path: Path) -> None:
    world = FakeWorld(tmp_path)
    rules = CurrentRules(world)
    assert rules() == Rules()
    orders = [
        order("1", environment=environment)
        for environment in (
            {},
            {ENV_POWER: canonical_json(POLICY).decode(), "JETFLEET_UID": "1234"},
            {ENV_POWER: "{"},
        )
    ]
    plain, power, damaged = (target_of(each).folder for each in orders)
    for each in orders:
        world.write_release(target_of(each).folder, files_of(each))
    world.set_links(Links(plain))
    assert rules() == Rules(plain, None, 1000)
    world.set_links(Links(power, plain))
    assert rules() == Rules(power, POLICY, 1234)
    world.set_links(Links(damaged))
    with pytest.raises(WorldError, match="JETFLEET_POWER of the current release is damaged"):
        rules()
    world.set_links(Links("gone"))
    with pytest.raises(WorldError, match="cannot read"):
        rules()


def test_a_policy_survives_the_env_file(tmp_path: Path) -> None:
    files = files_of(order("1", environment={ENV_POWER: canonical_json(POLICY).decode()}))
    line = next(line for line in files[".env"].content.splitlines() if line.startswith(ENV_POWER))
    assert json.loads(line.partition("=")[2].strip("'"))["modes"] == ["25W", "40W", "MAXN_SUPER"]


def test_lines_for_a_person() -> None:
    assert power_lines(PowerAnswer()) == ["mode      not known"]
    answer = PowerAnswer("25W", "40W", False, ("40W",), "from 25W to 40W needs a reboot -> do it")
    assert power_lines(answer) == [
        "mode      25W",
        "wanted    40W",
        "reboot    needed for 40W",
        "problem   from 25W to 40W needs a reboot -> do it",
    ]
    assert power_lines(PowerAnswer("25W", "25W", True))[1] == "wanted    25W, verified"


def test_an_answer_without_a_name_goes_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "bin/nvpmodel"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'NV Power Mode: '\necho 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    with pytest.raises(WorldError, match="does not say which mode is set"):
        Nvpmodel(tmp_path).current()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nvpmodel.conf").write_text("< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n")
    assert Nvpmodel(tmp_path).current() == "25W"
