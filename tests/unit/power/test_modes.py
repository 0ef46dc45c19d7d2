"""Power modes by name: NVIDIA's tables, what `nvpmodel -q` prints, and which modes a robot may take."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contract.robot.power import (
    PowerMode,
    PowerPolicy,
    mode_named,
    needs_reboot,
    parse_modes,
    parse_query,
    parse_query_id,
)
from runtime.power.modes import read_table, usable_modes

TABLES = Path(__file__).parents[2] / "fakes" / "nvpmodel"
NX16, NANO8, NANO8_OLD = "p3767-0000-super", "p3767-0003-super", "p3767-0003"


def table(name: str) -> tuple[PowerMode, ...]:
    return parse_modes((TABLES / f"{name}.conf").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "modes"),
    [
        (NX16, {"MAXN_SUPER": (0, 8), "10W": (1, 4), "15W": (2, 4), "25W": (3, 8), "40W": (4, 8)}),
        (NANO8, {"15W": (0, 8), "25W": (1, 8), "MAXN_SUPER": (2, 8)}),
        (NANO8_OLD, {"15W": (0, 8), "7W": (1, 4)}),
    ],
)
def test_tables_of_real_boards(name: str, modes: dict[str, tuple[int, int]]) -> None:
    assert {mode.name: (mode.id, mode.sm_count) for mode in table(name)} == modes


def test_a_mode_of_other_sms_or_other_cores_needs_a_reboot() -> None:
    nx, nano = table(NX16), table(NANO8)
    fast, slow, cut = (mode_named(nx, name) for name in ("MAXN_SUPER", "25W", "15W"))
    assert fast is not None
    assert slow is not None
    assert cut is not None
    assert not needs_reboot(fast, slow)
    assert needs_reboot(slow, cut)
    assert not needs_reboot(nano[0], nano[2])
    cores = parse_modes(
        "< POWER_MODEL ID=0 NAME=a >\nCPU_ONLINE CORE_5 1\n< POWER_MODEL ID=1 NAME=b >\nCPU_ONLINE CORE_5 0\n"
    )
    assert needs_reboot(cores[0], cores[1])


def test_what_no_section_says_is_not_known() -> None:
    modes = parse_modes("< POWER_MODEL ID=3 NAME=odd >\nGPU MAX_FREQ -1\n# TPC_POWER_GATING TPC_PG_MASK 240\n")
    assert modes == (PowerMode(3, "odd"),)
    assert parse_modes("< POWER_MODEL ID=0 NAME=x >\nTPC_POWER_GATING TPC_PG_MASK many\n")[0].sm_count is None
    assert parse_modes("<html>") == parse_modes("") == ()


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("NV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER"),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: 15W\n0\n", "15W"),
        ("NV Power Mode: MODE_30W_2CORE\r\n2\r\n", "MODE_30W_2CORE"),
        ("NVPM VERB: Current mode: NV Power Mode: MODE_15W_6CORE\n2\n", "MODE_15W_6CORE"),
        ("NV Power Mode: MY MODE\n9\n", "MY MODE"),
        ("NV Power Mode: \n0\n", None),
        ("NVPM ERROR: failed to read PMODE status!\n", None),
        ("", None),
    ],
)
def test_what_the_tool_prints(said: str, mode: str | None) -> None:
    assert parse_query(said) == mode


def test_the_number_that_follows_the_mode() -> None:
    assert parse_query_id("NV Power Mode: \n3\n") == parse_query_id("x\nNV Power Mode: 15W\r\n3\r\n") == 3
    assert parse_query_id("NV Power Mode: 15W\nNVPM WARN\n") is None
    assert parse_query_id("NV Power Mode:") is parse_query_id("") is None


FIRST = """< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
CPU_ONLINE CORE_1 1
FBP_POWER_GATING FBP_PG_MASK 2
TPC_POWER_GATING TPC_PG_MASK 240
GPU MAX_FREQ 612000000
"""
OTHER = FIRST.replace("ID=0 NAME=15W", "ID=9 NAME=CUSTOM")
HEAD, *LINES = OTHER.splitlines()


@pytest.mark.parametrize(
    ("text", "reboot"),
    [
        (OTHER, False),
        ("\n".join([HEAD, *reversed(LINES)]), False),
        (OTHER.replace("240", "0xF0").replace("MASK 2", "MASK 0x2"), False),
        ("\n".join("  " + line for line in OTHER.splitlines()), False),
        (OTHER.replace("ID=9 NAME=CUSTOM", "NAME=CUSTOM ID=9"), False),
        (OTHER.replace("\n", "\r\n"), False),
        (OTHER + "TPC_POWER_GATING TPC_PG_MASK 252\n", True),  # the last of two lines counts
        (OTHER.replace("CORE_1 1", "CORE_1 0"), True),
        (OTHER.replace("FBP_POWER_GATING FBP_PG_MASK 2\n", ""), True),
    ],
)
def test_the_form_of_a_table_makes_no_difference_and_its_values_do(text: str, reboot: bool) -> None:
    modes = parse_modes(f"{FIRST}\n{text}")
    here, there = mode_named(modes, "15W"), mode_named(modes, "CUSTOM")
    assert here is not None
    assert there is not None
    assert there.id == 9
    assert needs_reboot(here, there) is reboot


def test_a_section_without_name_or_number_and_one_that_is_a_comment_are_none() -> None:
    assert parse_modes("< POWER_MODEL ID=1 >\n< POWER_MODEL NAME=x >\n# < POWER_MODEL ID=2 NAME=y >\n") == ()


@given(st.text())
def test_any_text_is_a_table_or_none(text: str) -> None:
    assert all(mode.name for mode in parse_modes(text))
    parse_query(text)


def test_only_modes_of_the_engines_sms_are_left() -> None:
    policy = PowerPolicy("25W", ("15W", "25W", "40W", "70W"), sm_count=8)
    choice = usable_modes(policy, table(NX16), "25W")
    assert choice.modes == ("25W", "40W")
    assert dict(choice.left_out) == {
        "15W": "it leaves 4 SMs, the engines were built for 8",
        "70W": "this machine has no such mode",
    }


def test_a_mode_that_only_a_reboot_reaches_is_left_out() -> None:
    policy = PowerPolicy("10W", ("10W", "15W", "25W", "40W"))
    assert usable_modes(policy, table(NX16), "10W").modes == ("10W", "15W")
    assert dict(usable_modes(policy, table(NX16), "10W").left_out)["25W"] == "it needs a reboot"
    assert usable_modes(policy, table(NX16), None, blocked=["15W"]).modes == ("10W", "25W", "40W")


def test_engines_that_do_not_care_take_every_mode_and_unknown_counts_none() -> None:
    unknown = (PowerMode(0, "odd"),)
    assert usable_modes(PowerPolicy(modes=("odd",)), unknown, None).modes == ("odd",)
    assert usable_modes(PowerPolicy(modes=("odd",), sm_count=8), unknown, None).left_out == (
        ("odd", "it leaves an unknown number of SMs, the engines were built for 8"),
    )


def test_a_machine_without_the_tool_has_no_modes(tmp_path: Path) -> None:
    assert read_table(tmp_path) == ()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nvpmodel.conf").write_bytes((TABLES / f"{NX16}.conf").read_bytes() + b"\xff")
    assert len(read_table(tmp_path)) == 5
